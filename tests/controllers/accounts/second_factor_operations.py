"""The operations of second factors, for the tests of the API description."""

SECOND_FACTOR = {
    "getSecondFactor": ("/auth/second-factor", {"200"}),
    "deleteSecondFactor": ("/auth/second-factor", {"204", "422", "429"}),
    "startTotp": ("/auth/second-factor/totp", {"201", "409", "422", "429"}),
    "confirmTotp": ("/auth/second-factor/totp/confirm", {"200", "400", "422", "429"}),
    "renewRecoveryCodes": ("/auth/second-factor/recovery-codes", {"200", "422", "429"}),
}
BODIES = {"deleteSecondFactor", "startTotp", "confirmTotp", "renewRecoveryCodes"}
