"""The operations of second factors, for the tests of the API description."""

SECOND_FACTOR = {
    "getSecondFactor": ("/auth/second-factor", {"200"}),
    "deleteSecondFactor": ("/auth/second-factor", {"204", "400", "422", "429"}),
    "startTotp": ("/auth/second-factor/totp", {"201", "400", "409", "422", "429"}),
    "deleteTotp": ("/auth/second-factor/totp", {"204", "400", "404", "422", "429"}),
    "startPasskey": ("/auth/second-factor/passkeys/options", {"200", "400", "422", "429"}),
    "addPasskey": ("/auth/second-factor/passkeys", {"201", "400", "409", "422"}),
    "deletePasskey": ("/auth/second-factor/passkeys/{passkey_id}", {"204", "400", "404", "422", "429"}),
    "confirmTotp": ("/auth/second-factor/totp/confirm", {"200", "400", "422", "429"}),
    "renewRecoveryCodes": ("/auth/second-factor/recovery-codes", {"200", "400", "422", "429"}),
}
BODIES = {*SECOND_FACTOR} - {"getSecondFactor"}
