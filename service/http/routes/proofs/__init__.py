"""Verification for anybody: ``schemas`` is what is sent and answered (verifying processes read it too), ``calls`` the
calls.
"""
