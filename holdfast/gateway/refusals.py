"""Why a request is refused: a stable code for the log, one of few answers for the outside."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Code(StrEnum):
    """Stable names of refusals, for logs, metrics and tests; never sent to the outside."""

    FIELD_MALFORMED = "field-malformed"
    HEADER_DOUBLED = "header-doubled"
    REQUEST_MALFORMED = "request-malformed"
    AUTHORITY_FOREIGN = "authority-foreign"
    SIGNATURE_MISSING = "signature-missing"
    SIGNATURE_LABEL = "signature-label"
    SIGNATURE_COMPONENTS = "signature-components"
    SIGNATURE_PARAMETERS = "signature-parameters"
    SIGNATURE_ALGORITHM = "signature-algorithm"
    SIGNATURE_TAG = "signature-tag"
    SIGNATURE_TIME = "signature-time"
    SIGNATURE_WRONG = "signature-wrong"
    NONCE_MALFORMED = "nonce-malformed"
    NONCE_USED = "nonce-used"
    KEY_UNKNOWN = "key-unknown"
    KEY_OTHER = "key-other"
    KEY_UNUSABLE = "key-unusable"
    DIGEST_MISSING = "digest-missing"
    DIGEST_ALGORITHM = "digest-algorithm"
    DIGEST_WRONG = "digest-wrong"
    BODY_TOO_LARGE = "body-too-large"
    TOTP_MISSING = "totp-missing"
    TOTP_WRONG = "totp-wrong"
    FORWARDED_UNLISTED = "forwarded-unlisted"
    CERTIFICATE_MISSING = "certificate-missing"
    CERTIFICATE_UNVERIFIED = "certificate-unverified"
    CERTIFICATE_MALFORMED = "certificate-malformed"
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_REVOKED = "certificate-revoked"
    CERTIFICATE_SUPERSEDED = "certificate-superseded"
    CERTIFICATE_TEMPORARY = "certificate-temporary"
    CERTIFICATE_NOT_FOR_THIS = "certificate-not-for-this"


class Answer(IntEnum):
    """What the outside sees; nginx's auth_request passes nothing but these two on."""

    UNAUTHENTICATED = 401
    FORBIDDEN = 403


class Refused(Exception):
    """The request is not served. Its message is the code: nothing of the request is in it."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code

    @property
    def answer(self) -> Answer:
        """Return what the outside sees: only a peer that may not forward learns that much."""
        if self.code is Code.FORWARDED_UNLISTED:
            return Answer.FORBIDDEN
        return Answer.UNAUTHENTICATED
