"""Stage `preflight`: check that the model can be trained and asked with the texts of the scale.

Reads the base model and the adapter that the fine-tune starts from. Writes what was found, and a
constant text, on which the fine-tune depends: it runs after this stage, and not again if only the
findings change.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Annotated

from arcmix import files, program
from arcmix.config import scales
from arcmix.config.schema import At, PositiveInt, Section
from arcmix.ledger import form
from arcmix.models import adapters, preflight, pretrained
from arcmix.prediction import kv_cache, reading, rereading
from arcmix.text import tokenization
from arcmix.text.encode import Encoder

log = logging.getLogger("arcmix.preflight")


class Params(Section):
    """The values that the stage depends on."""

    prompt: Annotated[scales.Prompt, At("scales.${scale}.prompt")]
    """The prompt format and the encoder."""
    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]
    """The method, the type of the weights, and the lengths of the texts and rows."""
    max_tokens: Annotated[PositiveInt, At("scales.${scale}.validation.max_tokens")]
    """Limit on the tokens of a prompt."""
    predict: Annotated[scales.Predict, At("scales.${scale}.predict")]
    """The longest answer."""


def run(*, config: Params, base_model: Path, initial: Path, out: Path, report: Path) -> None:
    """Check the model in `base_model`, and the adapter in `initial` if there is one.

    Write the findings to `report`, and a constant text to `out`.
    """
    pretrained.quiet()
    settings = config.finetune
    pretrained.require_gpu(settings.method, settings.optimizer)
    tokenizer = pretrained.load_tokenizer(base_model)
    encoder = Encoder(config.prompt.encoder)
    model = pretrained.load_base(base_model, settings.dtype, settings.method)
    added = pretrained.add_tokens(model, tokenizer, encoder.tokens)
    style = tokenization.style(tokenizer, config.prompt.format, encoder, settings.loss)
    answer = tokenization.answer_budget(tokenizer, style, config.predict.max_side)
    longest = max(settings.max_tokens, config.max_tokens + answer)
    kv_cache.check(model, longest)
    texts = preflight.examples(tokenizer, style)
    findings = [
        preflight.start(style),
        preflight.digits(tokenizer, style, texts[0]),
        preflight.vocabulary(model, tokenizer),
        preflight.window(model, longest),
        preflight.packing(model, texts, settings),
        # This may change the attention of the model, so it is the last one.
        preflight.Finding(
            "reading",
            "the next token is as probable in a batch as alone, within"
            f" {reading.check(model, [one.input_ids.tolist() for one in texts]):.3f}",
            "each text is read anew" if kv_cache.other_kinds(model) else "",
        ),
    ]
    rereading.rows(model, config.predict.kv_format, 0)
    if (initial / "adapter").is_dir():
        try:
            adapters.resume(model, initial / "adapter", settings, 0, added)
        except ValueError as error:
            name = form.read_start(initial / "start.json")["adapter"]
            raise ValueError(f"init.adapter, {name}: {error}") from error
    for one in findings:
        log.info("%s: %s%s", one.check, one.found, f"; {one.done}" if one.done else "")
    files.write_json(report, {"findings": [dataclasses.asdict(one) for one in findings]})
    files.write_text(out, "the model can be trained and asked\n")


if __name__ == "__main__":
    program.main(run)
