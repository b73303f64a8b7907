"use strict";
// Measures snarkjs. Usage: node snarkjs_peer.js NPM_DIR SIZE_DIR PTAU_DIR POWER REPEATS MODE
// MODE is one of
//   witness  measure witness generation and write the .wtns file
//   ptau     make toy powers of tau, unless an earlier run did
//   prove    make the circuit's keys, then measure proving and verifying
// Prints one JSON object a line: {"stage": ...} as it goes, then {"result": ...}.

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");
const { performance } = require("node:perf_hooks");

const [npmDir, sizeDir, ptauDir, powerText, repeatsText, mode] = process.argv.slice(2);
const power = Number(powerText);
const repeats = Number(repeatsText);
const at = (name) => path.join(sizeDir, name);
const finalPtau = path.join(ptauDir, `pot${power}.ptau`);
const emit = (record) => console.log(JSON.stringify(record));
const stage = (name) => emit({ stage: name });

/** One warm-up run, then the median of the measured runs, in milliseconds. */
async function median(action) {
  await action();
  const times = [];
  for (let i = 0; i < repeats; i += 1) {
    const start = performance.now();
    await action();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const middle = Math.floor(times.length / 2);
  return times.length % 2 ? times[middle] : (times[middle - 1] + times[middle]) / 2;
}

/** Measure witness generation with circom's own WASM calculator, loaded once. */
async function measureWitness() {
  stage("witness");
  const buildCalculator = require(path.resolve(at("main_js/witness_calculator.js")));
  const calculator = await buildCalculator(fs.readFileSync(at("main_js/main.wasm")));
  const read = (name) => JSON.parse(fs.readFileSync(at(name), "utf8"));
  const solvent = read("solvent.json");
  const witness = await calculator.calculateWTNSBin(solvent, 0);
  fs.writeFileSync(at("witness.wtns"), witness);
  const witnessMs = await median(() => calculator.calculateWTNSBin(solvent, 0));
  let refused = false;
  try {
    await calculator.calculateWTNSBin(read("insolvent.json"), 0);
  } catch {
    refused = true;
  }
  if (!refused) throw new Error("a witness was made for an insolvent account");
  // Wire 0 is the constant one; the public signals follow: output, then input.
  const words = [1, 2].map((wire) => {
    const start = witness.length - wireBytes(witness) + wire * 32;
    const word = Buffer.from(witness.subarray(start, start + 32)).reverse();
    return BigInt(`0x${word.toString("hex")}`).toString();
  });
  fs.writeFileSync(at("public.json"), JSON.stringify(words));
  emit({ result: { witness_ms: witnessMs } });
}

/** Size in bytes of the values section, which closes a .wtns file. */
function wireBytes(witness) {
  const view = new DataView(witness.buffer, witness.byteOffset, witness.byteLength);
  const headerEnd = 12 + 12 + Number(view.getBigUint64(16, true));
  return Number(view.getBigUint64(headerEnd + 4, true));
}

/** Make toy powers of tau for this size of circuit, unless an earlier run did. */
async function powersOfTau(snarkjs) {
  const note = path.join(ptauDir, `pot${power}.json`);
  if (fs.existsSync(note)) {
    emit({ result: JSON.parse(fs.readFileSync(note, "utf8")) });
    return;
  }
  const start = performance.now();
  const fresh = path.join(ptauDir, `pot${power}_new.ptau`);
  const mixed = path.join(ptauDir, `pot${power}_mixed.ptau`);
  stage(`powers of tau 2^${power}: new`);
  const curve = await snarkjs.curves.getCurveFromName("bn128");
  await snarkjs.powersOfTau.newAccumulator(curve, power, fresh);
  stage(`powers of tau 2^${power}: contribute`);
  await snarkjs.powersOfTau.contribute(fresh, mixed, "toy", "toy entropy, not secret");
  stage(`powers of tau 2^${power}: prepare phase 2`);
  await snarkjs.powersOfTau.preparePhase2(mixed, finalPtau);
  fs.rmSync(fresh);
  fs.rmSync(mixed);
  const result = { ptau_s: (performance.now() - start) / 1000 };
  fs.writeFileSync(note, JSON.stringify(result));
  emit({ result });
}

/** The circuit's own keys: Groth16 setup and one toy contribution. */
async function circuitKeys(snarkjs) {
  const start = performance.now();
  stage("circuit setup");
  await snarkjs.zKey.newZKey(at("main.r1cs"), finalPtau, at("first.zkey"));
  await snarkjs.zKey.contribute(at("first.zkey"), at("final.zkey"), "toy", "toy entropy");
  const verificationKey = await snarkjs.zKey.exportVerificationKey(at("final.zkey"));
  fs.rmSync(at("first.zkey"));
  return { verificationKey, seconds: (performance.now() - start) / 1000 };
}

/** Measure proving and verifying, and check that wrong public signals fail. */
async function measureProof(snarkjs) {
  const keys = await circuitKeys(snarkjs);
  const witness = new Uint8Array(fs.readFileSync(at("witness.wtns")));
  const zkey = new Uint8Array(fs.readFileSync(at("final.zkey")));

  stage("prove");
  let made;
  const proveMs = await median(async () => {
    made = await snarkjs.groth16.prove(zkey, witness);
  });

  stage("verify");
  const check = (signals) => snarkjs.groth16.verify(keys.verificationKey, signals, made.proof);
  let accepted = true;
  const verifyMs = await median(async () => {
    accepted = (await check(made.publicSignals)) && accepted;
  });
  const [commitment, amount] = made.publicSignals;
  const stored = JSON.parse(fs.readFileSync(at("public.json"), "utf8"));
  if (stored[0] !== commitment || stored[1] !== amount) throw new Error("public signals differ");
  const nudge = (text) => (BigInt(text) + 1n).toString();
  if (!accepted) throw new Error("an honest proof was rejected");
  if (await check([nudge(commitment), amount])) throw new Error("a wrong commitment was accepted");
  if (await check([commitment, nudge(amount)])) throw new Error("a wrong amount was accepted");

  emit({
    result: {
      setup_s: keys.seconds,
      prove_ms: proveMs,
      verify_ms: verifyMs,
      // Two G1 points and one G2 point, uncompressed: 64 + 128 + 64.
      proof_bytes: 256,
      proof_json_bytes: JSON.stringify(made.proof).length,
      key_bytes: zkey.length,
    },
  });
}

async function main() {
  if (mode === "witness") {
    await measureWitness();
    return;
  }
  const snarkjs = createRequire(path.resolve(npmDir, "package.json"))("snarkjs");
  await (mode === "ptau" ? powersOfTau(snarkjs) : measureProof(snarkjs));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
