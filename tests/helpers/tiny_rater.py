"""The smallest LLaVA of random weights whose tokenizer knows the words of Q-Align."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<image>")
WORDS = (
    *("excellent", "good", "fair", "poor", "bad", "quality", "aesthetics", "image"),
    *("USER", ":", "How", "would", "you", "rate", "the", "of", "this", "?", "ASSISTANT"),
    *("The", "is"),
)


def write_rater(folder: Path, words: tuple[str, ...] = WORDS) -> Path:
    """Write a model and its processor."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            image_size=28, patch_size=14, projection_dim=16,
        ).to_dict(),
        text_config=LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128,
        ).to_dict(),
        image_token_index=vocabulary["<image>"],
    )  # fmt: skip
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():  # large matrices, so that scores differ from image to image
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.5 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    known = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=known,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    return folder
