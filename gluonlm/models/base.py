"""The common interface of all networks."""

import math
import re

import mxnet as mx
import numpy as np
from mxnet import autograd
from mxnet.gluon import HybridBlock, Parameter, nn

from .. import native
from ..config import SMALLEST
from ..system.device import to_device
from ..system.errors import InputError
from .loss import losses_and_gradient, negative_log_likelihood
from .native_network import NativeNetwork
from .stepper import WindowStepper

LARGEST = 1e6  # initial weight; larger weights overflow in the first product


class LanguageModel(HybridBlock):
    """A network that predicts the next token: `model(inputs, state)` returns `(logits, state)`.

    `hybrid_forward(F, ...)` is Gluon's forward pass; F is `mx.nd` or `mx.sym`.

    Inputs are ids `(T, N)`, logits are `(M, V)`, and the state is a flat list of arrays. M is
    `T * N` for a model that carries its state along the text, and N for one that reads windows.

    Attributes
    ----------
    vocab_size
        V, the number of tokens in the vocabulary.
    window
        Number of tokens read per prediction; None if the model carries a state instead.
    """

    vocab_size: int
    window: int | None = None
    static_shape = True  # plan buffers once per shape instead of at each call
    compiled: NativeNetwork | None = None  # computes training passes and losses instead of MXNet

    def begin_state(self, batch_size: int, ctx=None) -> list:
        """Return the initial state: zeros on a context, or [] if no state is carried."""
        return []

    def use_kernels(self, choice: str = "auto", precision: str = "float32") -> None:
        """Compute training passes and losses with native kernels, if they support them.

        On a GPU, MXNet computes everything. The weights must be initialized.

        Parameters
        ----------
        choice
            As for `native.load`.
        precision
            As for `NativeNetwork.set_precision`.

        Raises
        ------
        InputError
            If native kernels or the precision are required but unavailable.
        """
        kernels = native.load(choice)
        contexts = next(iter(self.parameters().values())).list_ctx()
        on_cpu = all(ctx.device_type == "cpu" for ctx in contexts)
        self.compiled = self.native_network(kernels) if kernels and on_cpu else None
        if self.compiled:
            self.compiled.set_precision(precision)
        elif precision != "float32":
            raise InputError(
                f"`precision` {precision}: only native kernels support it: on a CPU, with a model "
                "other than window and without `adaptive_softmax`"
            )

    def native_network(self, kernels: native.Kernels) -> NativeNetwork | None:
        """Return this network for native kernels, or None if they do not support it."""
        return None

    def seed_dropout(self, seed: int) -> None:
        """Set the seed of the dropout masks of the next passes."""
        if self.compiled:
            self.compiled.seed_dropout(seed)
        else:
            mx.random.seed(seed)

    def forward_backward(self, inputs, targets, state: list) -> tuple[mx.nd.NDArray, list]:
        """Run a training pass, and store the gradient of the summed loss in the parameters.

        The gradient of the summed loss with respect to the logits is computed in closed form, so
        autograd begins at the logits.

        Returns
        -------
        losses
            `(M,)`, the loss of each target in nats.
        state
            After the last token, detached: backpropagation through time ends here.
        """
        if self.compiled:
            return self.compiled.forward_backward(inputs, targets, state)
        with autograd.record():
            logits, state = self(inputs, state)  # (M, V)
        losses, gradient = losses_and_gradient(logits, targets)  # (M,), (M, V)
        logits.backward(gradient)
        return losses, [array.detach() for array in state]

    def losses(self, inputs, targets, state: list) -> tuple[np.ndarray, list]:
        """Return the loss of each target in nats, `(M,)`, float64, and the new state."""
        if self.compiled:
            return self.compiled.losses(inputs, targets, state)
        logits, state = self(inputs, state)  # (M, V)
        return negative_log_likelihood(logits, targets), state

    def gradient_norm(self, squares: np.ndarray) -> float:
        """Return the gradient norm for clipping, given each parameter's squared norm."""
        return math.sqrt(squares.sum())

    def stepper(self, batch_size: int = 1):
        """Return a stepper, which reads `batch_size` streams token by token.

        A model that carries a state copies its weights for it. A model that reads windows is called
        with its complete window for each token.
        """
        ctx = next(iter(self.parameters().values())).list_ctx()[0]

        def logits_of(window):  # (T, N) to (N, V)
            return self(to_device(window, self.vocab_size, ctx), [])[0].asnumpy()

        return WindowStepper(logits_of, self.window or 0, self.vocab_size, batch_size)

    def embedding_matrix(self) -> np.ndarray:
        """Return the embedding matrix, `(V, C)`.

        Raises
        ------
        InputError
            If the model has no embedding.
        """
        if not hasattr(self, "embedding"):
            raise InputError("this model has no embedding: it reads token ids directly")
        return to_numpy(self.embedding.weight)

    def parameters(self) -> dict[str, Parameter]:
        """Return the parameters by name, in a fixed order.

        A shared parameter is listed once, under its first name.
        """
        first: dict = {}
        for name, parameter in sorted(self._collect_params_with_prefix().items()):
            first.setdefault(id(parameter), (name.replace("._unfused.0", ""), parameter))
        return dict(first.values())

    def parameters_by_layer(self) -> dict[str, list[Parameter]]:
        """Return the parameters of each layer, from the input to the output.

        The layers are "embedding" (if the model has one), the numbers of the hidden layers from
        "1", and "decoder". An ensemble's layers contain those of all members; tied weights belong
        to both of their layers.
        """
        layers: dict = {}
        for path, parameter in sorted(self._collect_params_with_prefix().items()):
            end = re.search(r"\b(embedding|decoder)\.", path)
            hidden = re.search(r"\blayers\.(\d+)\.", path)
            name = end[1] if end else str(1 + int(hidden[1])) if hidden else "1"
            layers.setdefault(name, {})[id(parameter)] = parameter
        place = lambda name: (name == "decoder", name.isdigit(), len(name), name)  # noqa: E731
        return {name: list(layers[name].values()) for name in sorted(layers, key=place)}

    def count_parameters(self) -> int:
        """Return the number of trainable weights."""
        return sum(int(np.prod(parameter.shape)) for parameter in self.parameters().values())

    def prepare(self, ctx: list | None = None, init: str = "xavier", seed: int | None = 1):
        """Initialize the weights on these contexts (default: the CPU), and compile.

        Parameters
        ----------
        init
            "xavier", or for example "uniform:0.1".
        seed
            Random seed; None leaves MXNet's generator unchanged.

        Returns
        -------
        LanguageModel
            The model itself.

        Raises
        ------
        InputError
            For an unknown `init`.
        """
        if seed is not None:
            mx.random.seed(seed)
        self.initialize(initializer(init), ctx=ctx or [mx.cpu()])
        self.hybridize(static_alloc=True, static_shape=self.static_shape)
        return self

    def begin_at(self, frequencies: np.ndarray) -> None:
        """Set the output bias to the log frequency of each token, `(V,)`.

        Training then starts near the unigram model instead of learning it first.
        """
        self.decoder.bias.set_data(mx.nd.array(np.log(frequencies)))

    def pack(self) -> None:
        """Pack the weights of each fused layer contiguously in memory, once.

        `parameters()` is unchanged; `collect_params()` returns one parameter per layer.
        """
        self.apply(lambda block: block.pack_weights() if hasattr(block, "pack_weights") else None)

    def uses_dropout(self) -> bool:
        """Return whether a training pass uses dropout."""
        rates: list = []
        self.apply(lambda block: rates.append(getattr(block, "_rate", 0)))
        return any(rates)

    def without_dropout(self) -> "LanguageModel":
        """Permanently disable dropout and activation penalties; return the model."""
        self.apply(_switch_off)
        self.pack()
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights by name."""
        return {name: to_numpy(parameter) for name, parameter in self.parameters().items()}

    def load_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Set the weights on every context.

        Raises
        ------
        InputError
            As for `check_arrays`.
        """
        self.check_arrays(arrays)
        for name, parameter in self.parameters().items():
            parameter.set_data(arrays[name])

    def check_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Compare arrays with the parameters, which may be uninitialized.

        Raises
        ------
        InputError
            If names, shapes or types differ from the model's, or a number is not finite.
        """
        parameters = self.parameters()
        for name in sorted(set(parameters) ^ set(arrays)):
            fault = "missing" if name in parameters else "not part of this model"
            raise InputError(f"checkpoint: parameter {name} is {fault}")
        for name, parameter in parameters.items():
            array = arrays[name]
            if array.shape != parameter.shape or array.dtype != np.float32:
                raise InputError(
                    f"checkpoint: parameter {name} is {array.dtype} {array.shape}, "
                    f"expected float32 {parameter.shape}"
                )
            if not np.isfinite(array).all():
                raise InputError(f"checkpoint: parameter {name} contains non-finite numbers")


class Dropout(nn.Dropout):
    """Dropout with masks from MXNet's own generator, also on a GPU.

    cuDNN's generator cannot be seeded, which would prevent exact resumption of a run.
    """

    def hybrid_forward(self, F, x):
        return F.Dropout(x, p=self._rate, axes=self._axes, cudnn_off=True)


def _switch_off(block):
    for rate in ("_rate", "penalty"):  # of `Dropout` and of `Penalty`
        if hasattr(block, rate):
            setattr(block, rate, 0.0)
    block._clear_cached_op()  # compiled graphs contain the old rate


def initializer(text: str) -> mx.init.Initializer:
    """Return the initializer for `xavier` or, for example, `uniform:0.1`.

    Raises
    ------
    InputError
        For anything else.
    """
    name, _, scale = text.partition(":")
    if name == "xavier" and not scale:
        return mx.init.Xavier()
    try:
        if name == "uniform" and SMALLEST <= float(scale) <= LARGEST:
            return mx.init.Uniform(float(scale))
    except ValueError:
        pass
    raise InputError(f"`init` {text!r}: must be xavier, or for example uniform:0.1")


def to_numpy(parameter: Parameter) -> np.ndarray:
    """Return a parameter's values from its first context."""
    return parameter.data(parameter.list_ctx()[0]).asnumpy()
