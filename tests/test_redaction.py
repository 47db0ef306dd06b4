import pytest

from arcmix import redaction


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("from https://me:S3CRET@host/f: 404", "from https://***@host/f: 404"),
        ("from https://S3CRET@host/f", "from https://***@host/f"),
        ("from https://me:S3/C@RET@host/f", "from https://***@host/f"),
        ("'me:S3CRET@host' is no host", "'***@host' is no host"),
        ("GET https://host/f?a=1&sig=S3CRET failed", "GET https://host/f?*** failed"),
        ("the token is S3CRET-of-the-hub.", "the token is ***."),
        ("read https://host/f.json, 3 of 4", "read https://host/f.json, 3 of 4"),
        ("sources.a.file: what? me@host", "sources.a.file: what? me@host"),
        ("/work/a//b: found 3:4", "/work/a//b: found 3:4"),
    ],
)
def test_a_text_is_shown_without_credentials(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "S3CRET-of-the-hub")
    monkeypatch.setenv("WANDB_API_KEY", "read")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "sources.a.file")

    assert redaction.redacted(text) == shown
