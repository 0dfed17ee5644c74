"""Operations of convolutional networks and their hand-written gradients: the names of `torch.nn.functional`."""

from fastconv.functional.convolution import *
from fastconv.functional.transposed import *
