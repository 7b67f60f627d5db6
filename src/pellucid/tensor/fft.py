"""Discrete Fourier transforms of tensors: the namespace `pellucid.fft`, after the array API.

NumPy computes (pocketfft), in the precision of the operand: eagerly, and as a call to the host from
compiled programs.
"""

from __future__ import annotations

from pellucid.ops import fft as transforms
from pellucid.tensor.functions import lift, lift_creation

fft = lift(transforms.fft)
fftfreq = lift_creation(transforms.fftfreq)
fftn = lift(transforms.fftn)
fftshift = lift(transforms.fftshift)
hfft = lift(transforms.hfft)
ifft = lift(transforms.ifft)
ifftn = lift(transforms.ifftn)
ifftshift = lift(transforms.ifftshift)
ihfft = lift(transforms.ihfft)
irfft = lift(transforms.irfft)
irfftn = lift(transforms.irfftn)
rfft = lift(transforms.rfft)
rfftfreq = lift_creation(transforms.rfftfreq)
rfftn = lift(transforms.rfftn)

__all__ = [
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]
