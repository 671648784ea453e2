"""Frozen, pretrained feature extractors, and features of images as methods use them.

- `efficientnet_lite`: the built-in network; `timm_features`: others, where timm is installed.
- `weights`: backbones by name, their weights and digests.
- `table`: features of known images; `features`: the extractor; `space`: standardised features.

Nothing here is trained, and no method lives here.
"""
