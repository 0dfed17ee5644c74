"""Operations of convolutional networks and their hand-written gradients: the names of `torch.nn.functional`."""

from fastconv.functional.activation import *
from fastconv.functional.convolution import *
from fastconv.functional.dropout import *
from fastconv.functional.linear import *
from fastconv.functional.loss import *
from fastconv.functional.normalization import *
from fastconv.functional.pooling import *
from fastconv.functional.resampling import *
from fastconv.functional.transposed import *
from fastconv.functional.unpooling import *

# What the modules define, without the modules themselves; two functions have their module's name.
__all__ = sorted(name for name, value in vars().items() if getattr(value, "__module__", "").startswith(f"{__name__}."))
