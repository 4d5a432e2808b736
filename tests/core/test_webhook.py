"""What webhooks are signed with."""

import hmac
from base64 import b64encode
from hashlib import sha256

import pytest

from core.webhook import NoSigningKey, signature


@pytest.mark.parametrize(
    ("secret", "key"),
    [("sesame", b"sesame"), ("señal", "señal".encode()), ("whsec_c2VzYW1l", b"sesame"), ("c2VzYW1l", b"c2VzYW1l")],
)
def test_a_request_is_signed_with_the_text_or_the_base64_it_says_it_is(secret: str, key: bytes) -> None:
    wanted = b64encode(hmac.new(key, b"msg_1.7.{}", sha256).digest()).decode()
    assert signature(secret, "msg_1", 7, b"{}") == f"v1,{wanted}"


@pytest.mark.parametrize("secret", ["whsec_c2VzYW1", "whsec_c2Vz YW1l", "whsec_señal", "whsec_\u202e", "whsec_"])
def test_what_says_it_is_base64_and_is_not_signs_nothing_and_is_not_repeated(secret: str) -> None:
    with pytest.raises(NoSigningKey, match=r"^begins with whsec_, and ") as told:
        signature(secret, "msg_1", 7, b"{}")
    assert secret not in str(told.value) or secret == "whsec_"
