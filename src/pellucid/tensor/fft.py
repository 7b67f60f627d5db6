"""Discrete Fourier transforms of tensors: the namespace `pellucid.fft`, after the array API.

NumPy's `fft2` and its like are there too. NumPy computes (pocketfft), in the precision of the
operand: eagerly, and as a call to the host from compiled programs.
"""

from __future__ import annotations

from pellucid.ops import fft as transforms
from pellucid.tensor.functions import lift, lift_creation

fft = lift(transforms.fft)
fft2 = lift(transforms.fft2)
fftfreq = lift_creation(transforms.fftfreq)
fftn = lift(transforms.fftn)
fftshift = lift(transforms.fftshift)
hfft = lift(transforms.hfft)
ifft = lift(transforms.ifft)
ifft2 = lift(transforms.ifft2)
ifftn = lift(transforms.ifftn)
ifftshift = lift(transforms.ifftshift)
ihfft = lift(transforms.ihfft)
irfft = lift(transforms.irfft)
irfft2 = lift(transforms.irfft2)
irfftn = lift(transforms.irfftn)
rfft = lift(transforms.rfft)
rfft2 = lift(transforms.rfft2)
rfftfreq = lift_creation(transforms.rfftfreq)
rfftn = lift(transforms.rfftn)

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]
