pragma circom 2.1.0;

include "bitify.circom";
include "poseidon.circom";

// The statement every peer proves.
//
//   d        number of instruments
//   S        number of scenarios
//   V[s][j]  value of one lot of instrument j in scenario s
//   a[j]     add-on per lot of instrument j
//
// V and a are compile-time constants. That is kind to the peer: they cost no
// public inputs and no multiplications. The price, which this benchmark does
// not count, is a new circuit and a new trusted setup whenever V or a change.
//
// The commitment is a chain of Poseidon hashes over the positions and the
// blinding. It is the cheap, circuit-friendly commitment that a Groth16 user
// would choose; a Pedersen commitment would cost this circuit far more. It is
// declared as an output, which in circom means a public signal: the verifier
// supplies it exactly as it supplies a public input.
template AccountSolvency(d, S, V, a) {
    signal input p[d];        // private: long lots
    signal input n[d];        // private: short lots
    signal input blinding;    // private
    signal input amount;      // public
    signal output commitment; // public

    // Each side fits in 64 bits.
    component longBits[d];
    component shortBits[d];
    for (var j = 0; j < d; j++) {
        longBits[j] = Num2Bits(64);
        longBits[j].in <== p[j];
        shortBits[j] = Num2Bits(64);
        shortBits[j].in <== n[j];
    }

    // Every scenario leaves a surplus in [0, 2^70).
    component surplusBits[S];
    for (var s = 0; s < S; s++) {
        var surplus = 0;
        for (var j = 0; j < d; j++) {
            surplus += (V[s][j] - a[j]) * p[j] - (V[s][j] + a[j]) * n[j];
        }
        surplusBits[s] = Num2Bits(70);
        surplusBits[s].in <== surplus - amount;
    }

    // commitment = H(... H(H(blinding, x[0..14]), x[15..29]) ...), zero padded.
    var links = (d + 14) \ 15;
    component hash[links];
    for (var i = 0; i < links; i++) {
        hash[i] = Poseidon(16);
        if (i == 0) {
            hash[i].inputs[0] <== blinding;
        } else {
            hash[i].inputs[0] <== hash[i - 1].out;
        }
        for (var k = 0; k < 15; k++) {
            var j = 15 * i + k;
            if (j < d) {
                hash[i].inputs[k + 1] <== p[j] - n[j];
            } else {
                hash[i].inputs[k + 1] <== 0;
            }
        }
    }
    commitment <== hash[links - 1].out;
}
