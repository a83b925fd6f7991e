"""SCUNet in three dimensions: a U-shaped network of Swin-convolution blocks.

Architecture: Zhang et al., Machine Intelligence Research 20, 822 (2023), in the 3-D form with
filter response normalisation that EMReady uses. Parameter names and shapes equal the published
ones, so a published state dict loads strictly.

Inside the network tensors are kept channels last, ``(batch, z, y, x, channels)``: 1x1x1
convolutions, strided convolutions and attention are then plain matrix products, and the 3x3x3
convolutions see PyTorch's ``channels_last_3d`` layout through a free permutation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

WINDOW = 3
LEVELS = 3
BOX_MULTIPLE = WINDOW * 2**LEVELS


class FilterResponseNorm(nn.Module):
    """Filter response normalisation with a thresholded linear unit (arXiv 1911.09737).

    ``max(gamma * x / sqrt(mean(x^2) + |eps|) + beta, tau)`` with the mean over the whole box, per
    sample and channel. The statistic makes the network non-local: an answer at one voxel depends
    on the power of its whole box. Input and output: (batch, z, y, x, channels).
    """

    def __init__(self, channels: int):
        super().__init__()
        shape = (1, channels, 1, 1, 1)
        self.eps = nn.Parameter(torch.full(shape, 1e-6), requires_grad=False)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.tau = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        # Half precision cannot carry the sum of squares of a 48^3 box.
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        power = wide.square().mean(dim=(1, 2, 3))
        scale = self.gamma.flatten() * torch.rsqrt(power + self.eps.flatten().abs())
        tau = self.tau.flatten()
        # max(y, tau) as relu(y - tau) + tau: its backward needs one pass instead of four.
        above = torch.addcmul(self.beta.flatten() - tau, wide, scale[:, None, None, None, :])
        return (functional.relu(above) + tau).to(x.dtype)


class DropPath(nn.Module):
    """Drop a residual branch per sample during training, with kept samples scaled by 1/(1-p)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = torch.rand(x.shape[0], device=x.device) >= self.rate
        factor = kept.to(x.dtype) / (1.0 - self.rate)
        return x * factor.view(-1, *[1] * (x.ndim - 1))


def relative_position_index() -> Tensor:
    """Index into the flat 5x5x5 table for each (query, key) pair, shape (27, 27).

    Entry (p, q) holds the coordinate difference query minus key, shifted to 0..4 per axis.
    """
    axis = torch.arange(WINDOW)
    tokens = torch.cartesian_prod(axis, axis, axis)
    difference = tokens[:, None, :] - tokens[None, :, :] + (WINDOW - 1)
    side = 2 * WINDOW - 1
    return (difference[..., 0] * side + difference[..., 1]) * side + difference[..., 2]


def shift_masks() -> Tensor:
    """Additive masks of the shifted windows, shape (8, 27, 27), 0 or -inf.

    Row number = 4 [last along z] + 2 [last along y] + [last along x]. In a window that is last
    along an axis, the token that came round by the roll (local index 2) and the others may not
    see each other.
    """
    axis = torch.arange(WINDOW)
    wrapped = torch.cartesian_prod(axis, axis, axis) == WINDOW - 1
    differ = wrapped[:, None, :] != wrapped[None, :, :]
    code = torch.arange(8)
    last = torch.stack([(code & 4) > 0, (code & 2) > 0, (code & 1) > 0], dim=1)
    forbidden = (differ[None] & last[:, None, None, :]).any(dim=-1)
    return torch.zeros(forbidden.shape).masked_fill(forbidden, float("-inf"))


def window_codes(windows: tuple[int, int, int], device: torch.device) -> Tensor:
    """Mask number (0..7) of each window in z, y, x order, shape (product of windows,)."""
    last = [torch.arange(n, device=device) == n - 1 for n in windows]
    code = 4 * last[0][:, None, None] + 2 * last[1][None, :, None] + 1 * last[2][None, None, :]
    return code.flatten()


class WindowAttention(nn.Module):
    """Self-attention inside 3x3x3 windows with a learned relative-position bias.

    Parameters
    ----------
    channels : int
        Width of the tokens.
    head_dim : int
        Width of one head.
    shifted : bool
        Roll the volume by one voxel before windowing, and mask what came round.
    """

    def __init__(self, channels: int, head_dim: int, shifted: bool):
        super().__init__()
        self.heads = channels // head_dim
        self.head_dim = head_dim
        self.shifted = shifted
        side = 2 * WINDOW - 1
        self.relative_position_params = nn.Parameter(torch.zeros(self.heads, side, side, side))
        nn.init.trunc_normal_(self.relative_position_params, std=0.02)
        self.embedding_layer = nn.Linear(channels, 3 * channels)
        self.linear = nn.Linear(channels, channels)
        self.register_buffer("position_index", relative_position_index(), persistent=False)
        self.register_buffer("masks", shift_masks(), persistent=False)

    def attention_bias(self, windows: tuple[int, int, int]) -> Tensor:
        """Position bias plus mask, shape (1 or number of windows, heads, 27, 27)."""
        table = self.relative_position_params.reshape(self.heads, -1)
        bias = table[:, self.position_index.flatten()].view(1, self.heads, 27, 27)
        if not self.shifted:
            return bias
        patterns = bias + self.masks[:, None].to(bias.dtype)
        return patterns.index_select(0, window_codes(windows, bias.device))

    def forward(self, x: Tensor) -> Tensor:
        if self.shifted:
            x = torch.roll(x, shifts=(-1, -1, -1), dims=(1, 2, 3))
        b, z, y, width, c = x.shape
        windows = (z // WINDOW, y // WINDOW, width // WINDOW)
        split = (b, windows[0], WINDOW, windows[1], WINDOW, windows[2], WINDOW, c)
        tokens = x.reshape(split).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, -1, 27, c)
        qkv = self.embedding_layer(tokens).view(b, -1, 27, 3, self.heads, self.head_dim)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        logits = (query * self.head_dim**-0.5) @ key.transpose(-1, -2)
        weights = torch.softmax(logits + self.attention_bias(windows), dim=-1)
        mixed = (weights.to(value.dtype) @ value).transpose(2, 3).reshape(b, -1, 27, c)
        out = self.linear(mixed).view(b, *windows, WINDOW, WINDOW, WINDOW, c)
        out = out.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, z, y, width, c)
        return torch.roll(out, shifts=(1, 1, 1), dims=(1, 2, 3)) if self.shifted else out


class SwinBlock(nn.Module):
    """Window attention and a two-layer perceptron, each with pre-norm, residual and drop-path."""

    def __init__(self, channels: int, head_dim: int, shifted: bool, drop_path: float):
        super().__init__()
        self.ln1 = nn.LayerNorm(channels)
        self.msa = WindowAttention(channels, head_dim, shifted)
        self.drop_path = DropPath(drop_path)
        self.ln2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.msa(self.ln1(x)))
        return x + self.drop_path(self.mlp(self.ln2(x)))


class SwinConvBlock(nn.Module):
    """Two parallel branches on half of the channels each: 3x3x3 convolutions, and Swin attention.

    Parameters
    ----------
    channels : int
        Width of one half; the block's input and output have twice as many.
    attention : bool
        False replaces the Swin branch by the identity (the convolution-only ablation).
    """

    def __init__(
        self, channels: int, head_dim: int, shifted: bool, drop_path: float, attention: bool
    ):
        super().__init__()
        self.channels = channels
        self.trans_block = (
            SwinBlock(channels, head_dim, shifted, drop_path) if attention else nn.Identity()
        )
        self.conv1_1 = nn.Conv3d(2 * channels, 2 * channels, 1)
        self.conv1_2 = nn.Conv3d(2 * channels, 2 * channels, 1)
        self.conv_block = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            FilterResponseNorm(channels),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            FilterResponseNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        half = self.channels
        weight, bias = self.conv1_1.weight.flatten(1), self.conv1_1.bias
        # Two products instead of one product and a split: both halves come out contiguous.
        a = functional.linear(x, weight[:half], bias[:half])
        b = functional.linear(x, weight[half:], bias[half:])
        first, norm_first, second, norm_second = self.conv_block
        inner = norm_first(convolve(first, a))
        a = norm_second(convolve(second, inner)) + a
        b = self.trans_block(b)
        mixed = functional.linear(
            torch.cat((a, b), dim=-1), self.conv1_2.weight.flatten(1), self.conv1_2.bias
        )
        return x + mixed


def convolve(layer: nn.Conv3d, x: Tensor) -> Tensor:
    """Apply a 3x3x3 convolution to a channels-last tensor (batch, z, y, x, channels)."""
    return layer(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1).contiguous()


def downsample(layer: nn.Conv3d, x: Tensor) -> Tensor:
    """Apply a 2x2x2 convolution of stride 2 as one matrix product over 2x2x2 patches."""
    b, z, y, width, c = x.shape
    patches = x.reshape(b, z // 2, 2, y // 2, 2, width // 2, 2, c).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return functional.linear(patches.flatten(4), layer.weight.flatten(1))


def upsample(layer: nn.ConvTranspose3d, x: Tensor) -> Tensor:
    """Apply a transposed 2x2x2 convolution of stride 2 as one matrix product."""
    b, z, y, width, _ = x.shape
    c = layer.weight.shape[1]
    patches = functional.linear(x, layer.weight.flatten(1).t()).view(b, z, y, width, c, 2, 2, 2)
    return patches.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, 2 * z, 2 * y, 2 * width, c)


class SCUNet(nn.Module):
    """The full network: (batch, in_channels, z, y, x) -> (batch, out_channels, z, y, x).

    Parameters
    ----------
    in_channels, out_channels : int
    dim : int
        Channels of the first level (32 in the published network); doubled at each level down.
    config : sequence of seven ints
        Blocks of down 1-3, body, up 3-1. Blocks alternate between plain and shifted windows.
    head_dim : int
        Width of one attention head (16 in the published network).
    drop_path_rate : float
        Largest drop-path rate; rates grow linearly from 0 over all blocks.
    attention : bool
        False removes the attention branch (ablation; not the published network).
    residual : bool
        True adds the input to the output and starts the tail at a tenth of its usual size, so
        that an untrained network is near the identity. No name in the state dict changes.

    Raises
    ------
    ValueError
        If the widths do not fit the heads, or an axis of the input is no multiple of 24. The
        three axes need not be equal.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        dim: int = 32,
        config: tuple[int, ...] | list[int] = (2, 2, 2, 2, 2, 2, 2),
        head_dim: int = 16,
        drop_path_rate: float = 0.0,
        attention: bool = True,
        residual: bool = False,
    ):
        super().__init__()
        self.residual = residual
        if len(config) != 2 * LEVELS + 1:
            raise ValueError(f"config has {len(config)} stages, expected {2 * LEVELS + 1}")
        if dim % 2 or (dim // 2) % head_dim:
            raise ValueError(f"half of dim {dim} is not a multiple of head_dim {head_dim}")
        rates = iter(torch.linspace(0, drop_path_rate, sum(config)).tolist())

        def blocks(stage: int, width: int) -> list[nn.Module]:
            return [
                SwinConvBlock(width // 2, head_dim, bool(index % 2), next(rates), attention)
                for index in range(config[stage])
            ]

        def down(stage: int, width: int) -> nn.Sequential:
            layer = nn.Conv3d(width, 2 * width, 2, stride=2, bias=False)
            return nn.Sequential(*blocks(stage, width), layer)

        def up(stage: int, width: int) -> nn.Sequential:
            layer = nn.ConvTranspose3d(2 * width, width, 2, stride=2, bias=False)
            return nn.Sequential(layer, *blocks(stage, width))

        self.m_head = nn.Sequential(nn.Conv3d(in_channels, dim, 3, padding=1, bias=False))
        self.m_down1 = down(0, dim)
        self.m_down2 = down(1, 2 * dim)
        self.m_down3 = down(2, 4 * dim)
        self.m_body = nn.Sequential(*blocks(3, 8 * dim))
        self.m_up3 = up(4, 4 * dim)
        self.m_up2 = up(5, 2 * dim)
        self.m_up1 = up(6, dim)
        self.m_tail = nn.Sequential(nn.Conv3d(dim, out_channels, 3, padding=1, bias=False))
        if residual:
            with torch.no_grad():
                self.m_tail[0].weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        if any(side % BOX_MULTIPLE for side in x.shape[2:]):
            raise ValueError(f"box {tuple(x.shape[2:])} is not a multiple of {BOX_MULTIPLE}")
        level1 = convolve(self.m_head[0], x.permute(0, 2, 3, 4, 1))
        level2 = run_down(self.m_down1, level1)
        level3 = run_down(self.m_down2, level2)
        level4 = run_down(self.m_down3, level3)
        body = self.m_body(level4)
        up3 = run_up(self.m_up3, body + level4)
        up2 = run_up(self.m_up2, up3 + level3)
        up1 = run_up(self.m_up1, up2 + level2)
        tail = convolve(self.m_tail[0], up1 + level1)
        output = tail.permute(0, 4, 1, 2, 3).contiguous()
        return output + x if self.residual else output


def run_down(stage: nn.Sequential, x: Tensor) -> Tensor:
    """Blocks, then the strided convolution."""
    for block in stage[:-1]:
        x = block(x)
    return downsample(stage[-1], x)


def run_up(stage: nn.Sequential, x: Tensor) -> Tensor:
    """The transposed convolution, then the blocks."""
    x = upsample(stage[0], x)
    for block in stage[1:]:
        x = block(x)
    return x
