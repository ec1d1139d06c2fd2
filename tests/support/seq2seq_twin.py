"""A network for seq2seq as transformers has it, for tests and for benchmarks/translation.py."""

from __future__ import annotations

from typing import Any

from bertsmith.model.name_tables import encoder_decoder_names
from bertsmith.model.networks import Seq2SeqNetwork


def in_transformers(network: Seq2SeqNetwork) -> Any:
    """The same weights as an `EncoderDecoderModel` of two BERTs."""
    import transformers

    config = network.config
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    encoder = transformers.BertModel(transformers.BertConfig(**shape), add_pooling_layer=False)
    decoder = transformers.BertLMHeadModel(transformers.BertConfig(**shape, is_decoder=True, add_cross_attention=True))
    model = transformers.EncoderDecoderModel(encoder=encoder, decoder=decoder).eval()
    own = dict(network.named_parameters())
    names = encoder_decoder_names(own, config.num_hidden_layers)
    report = model.load_state_dict({name: own[ours] for name, ours in names.items()}, strict=False)
    assert not report.unexpected_keys
    assert all("position_ids" in name or "token_type_ids" in name for name in report.missing_keys), report
    return model
