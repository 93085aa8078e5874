"""The smallest BLIP-2 of random weights, in the format of the published ones."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipImageProcessor,
    OPTConfig,
    PreTrainedTokenizerFast,
)

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<image>")
WORDS = (
    *("a", "the", "room", "with", "red", "green", "blue", "white"),
    *("wall", "chair", "table", "lamp", "and", "of", "photo", "in"),
)


def write_blip2(folder: Path, seed: int = 1) -> Path:
    """Write a model and its processor."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = _tokenizer(vocabulary)
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            image_size=16, patch_size=8,
        ).to_dict(),
        qformer_config=Blip2QFormerConfig(
            vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, encoder_hidden_size=16,
        ).to_dict(),
        text_config=OPTConfig(
            vocab_size=len(vocabulary), hidden_size=16, ffn_dim=32, num_hidden_layers=1,
            num_attention_heads=2, word_embed_proj_dim=16, max_position_embeddings=64,
            bos_token_id=2, eos_token_id=2, pad_token_id=1,
        ).to_dict(),
        num_query_tokens=3,
        image_token_index=vocabulary["<image>"],
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():  # large matrices, so that captions differ from image to image
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter))
        model.query_tokens *= 0.1
        model.language_projection.weight *= 3
    model.save_pretrained(folder)
    pictures = BlipImageProcessor(size={"height": 16, "width": 16})
    Blip2Processor(pictures, tokenizer, num_query_tokens=3).save_pretrained(folder)
    return folder


def _tokenizer(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    """Whole words; like OPT's, it begins every text with </s>."""
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("</s> $A", None, [("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
