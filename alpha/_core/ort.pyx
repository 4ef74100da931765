"""ONNX Runtime sessions through the C API of the installed wheel. Floor 3.

The library is opened by path (``RTLD_LOCAL``), never linked and never imported as a Python
module. One environment per process; a session is immutable and shared; each pipeline owns an
:class:`OrtKernel` with preallocated values. Missing library or ``ALPHA_NO_ORT=1``: not available,
and the runtime answers HOLD with NO_ORT.
"""

import glob
import importlib.util
import os
import sys

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import cython

from alpha._core.model cimport ModelKernel
from alpha._core.tensor cimport Tensor
from alpha.errors import ModelError

cdef extern from "<dlfcn.h>" nogil:
    void *dlopen(const char *path, int mode)
    void *dlsym(void *handle, const char *name)
    char *dlerror()
    enum:
        RTLD_NOW
        RTLD_LOCAL

cdef extern from *:
    """
    #define ALPHA_ORT_PAIR(name, slot, type, args) {#name, slot},
    static const struct { const char *name; int slot; } alpha_ort_slot_table[] = {ALPHA_ORT_SLOTS(ALPHA_ORT_PAIR)};
    #define ALPHA_ORT_N_SLOTS ((int)(sizeof alpha_ort_slot_table / sizeof alpha_ort_slot_table[0]))
    static const char *alpha_ort_slot_name(int i) { return alpha_ort_slot_table[i].name; }
    static int alpha_ort_slot_number(int i) { return alpha_ort_slot_table[i].slot; }
    """
    int ALPHA_ORT_N_SLOTS
    const char *alpha_ort_slot_name(int i) nogil
    int alpha_ort_slot_number(int i) nogil

# Process-wide, made on first use, never released: sessions may outlive any order of destruction.
cdef alpha_ort_api api
cdef ort *env = NULL
cdef ort *memory = NULL
cdef ort *allocator = NULL
_loaded_version = None
_loaded_path = None
_not_found = ""  # what kept the library from being looked for, if anything did


def slots():
    """``{function: number}``: the slots of OrtApi this build calls."""
    return {alpha_ort_slot_name(i).decode(): alpha_ort_slot_number(i) for i in range(ALPHA_ORT_N_SLOTS)}


def library_path():
    """Absolute path of the ONNX Runtime library that would be opened, or None.

    ``ALPHA_ORT_LIBRARY`` overrides; else the file inside the installed ``onnxruntime`` wheel, found
    without importing it.
    """
    global _not_found
    _not_found = ""
    override = os.environ.get("ALPHA_ORT_LIBRARY")
    if override:
        return os.path.abspath(override) if os.path.isfile(override) else None
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except Exception as exc:  # an import hook may raise anything; so may a module without __spec__
        words = str(exc).split()
        _not_found = f"the search for it failed: {type(exc).__name__}{': ' if words else ''}{' '.join(words)[:200]}"
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    pattern = "libonnxruntime*.dylib" if sys.platform == "darwin" else "libonnxruntime.so.*"
    for folder in spec.submodule_search_locations:
        found = sorted(glob.glob(os.path.join(glob.escape(folder), "capi", pattern)))
        if found:
            return os.path.abspath(found.pop())
    return None


def unavailable_reason():
    """Why ONNX Runtime cannot be used, one line; empty if it can."""
    if os.environ.get("ALPHA_NO_ORT", "") not in ("", "0"):
        return "ALPHA_NO_ORT is set"
    if _loaded_path is None and library_path() is None:
        why = f" ({_not_found})" if _not_found else ""
        return (
            f"no ONNX Runtime library found{why}: pip install onnxruntime, or point ALPHA_ORT_LIBRARY at libonnxruntime.so"
        )
    try:
        _load()
    except ModelError as exc:
        return str(exc)
    return ""


def available():
    """True if sessions can be made now."""
    return not unavailable_reason()


def version():
    """Version of the opened library, or None."""
    return _loaded_version if available() else None


cdef int check(ort *status, what) except -1:
    """Raise ModelError with ORT's own message if ``status`` is a failure."""
    if status == NULL:
        return 0
    message = api.GetErrorMessage(status).decode("utf-8", "replace")
    api.ReleaseStatus(status)
    raise ModelError(f"ONNX Runtime cannot {what}: {message.strip().splitlines()[0] if message.strip() else 'no message'}")


def _load():
    """Open the library and make the process-wide environment, once."""
    global env, memory, allocator, _loaded_version, _loaded_path
    cdef void *handle
    cdef void *symbol
    cdef const alpha_ort_base *(*get_base)() noexcept
    cdef const alpha_ort_base *base
    cdef const void *const *table
    if env != NULL:
        return
    path = library_path()
    if path is None:
        raise ModelError(unavailable_reason() or "no ONNX Runtime library found")
    handle = dlopen(os.fsencode(path), RTLD_NOW | RTLD_LOCAL)
    if handle == NULL:
        raise ModelError(f"cannot open {path}: {dlerror().decode('utf-8', 'replace')}")
    symbol = dlsym(handle, b"OrtGetApiBase")
    if symbol == NULL:
        raise ModelError(f"{path} is no ONNX Runtime library: it exports no OrtGetApiBase")
    memcpy(&get_base, &symbol, sizeof(void *))
    base = get_base()
    table = base.get_api(ALPHA_ORT_API_VERSION)
    if table == NULL:
        raise ModelError(f"{path} is older than API version {ALPHA_ORT_API_VERSION}: install onnxruntime 1.11 or newer")
    alpha_ort_take_slots(&api, table)
    check(api.CreateEnv(3, b"alpha", &env), "make an environment")
    check(api.CreateCpuMemoryInfo(0, 0, &memory), "describe memory")
    check(api.GetAllocatorWithDefaultOptions(&allocator), "get its allocator")
    _loaded_version = base.get_version().decode()
    _loaded_path = path


cdef object value_info(ort *session, size_t i, bint is_input):
    """(name, shape with -1 for free dimensions, element type) of one input or output."""
    cdef char *name = NULL
    cdef ort *type_info = NULL
    cdef const ort *tensor = NULL
    cdef size_t n_dims = 0
    cdef int element = 0
    cdef int64_t dims[16]
    if is_input:
        check(api.SessionGetInputName(session, i, allocator, &name), "name an input")
    else:
        check(api.SessionGetOutputName(session, i, allocator, &name), "name an output")
    text = name.decode("utf-8", "replace")
    check(api.AllocatorFree(allocator, name), "free a name")
    if is_input:
        check(api.SessionGetInputTypeInfo(session, i, &type_info), "describe an input")
    else:
        check(api.SessionGetOutputTypeInfo(session, i, &type_info), "describe an output")
    try:
        check(api.CastTypeInfoToTensorInfo(type_info, &tensor), "describe a tensor")
        if tensor == NULL:
            return text, None, 0  # a sequence or a map
        check(api.GetTensorElementType(tensor, &element), "tell an element type")
        check(api.GetDimensionsCount(tensor, &n_dims), "count dimensions")
        if n_dims > 16:
            return text, None, element
        check(api.GetDimensions(tensor, dims, n_dims), "tell dimensions")
        return text, tuple(dims[j] for j in range(n_dims)), element
    finally:
        api.ReleaseTypeInfo(type_info)


@cython.final
cdef class OrtModel:
    """A session made from the very bytes that were verified; immutable, shared between pipelines.

    ``OrtModel(model, output=None, arena=True, carry=())``: exactly one float32 input ``[1 or N, F]`` or
    ``[1 or N, T, F]`` beside the states. ``output`` names the float32 output to read; by default the last float32
    output ``[1 or N, K]``. ``carry``: (input, output) names of recurrent states, in the order in which they are kept.
    One intra-op thread (the caller's own), sequential, all graph optimisations.
    """

    def __cinit__(self, bytes model not None, *, output=None, bint arena=True, carry=()):
        cdef ort *options = NULL
        cdef const char *data = model
        cdef size_t n_bytes = len(model), n = 0, i
        self.session = NULL
        reason = unavailable_reason()
        if reason:
            raise ModelError(f"ONNX Runtime is not available: {reason}")
        if n_bytes < 8:
            raise ModelError(f"{n_bytes} bytes are no ONNX model")
        check(api.CreateSessionOptions(&options), "make options")
        try:
            check(api.SetSessionExecutionMode(options, 0), "run sequentially")
            check(api.SetSessionGraphOptimizationLevel(options, ALPHA_ORT_ENABLE_ALL), "optimise")
            check(api.SetIntraOpNumThreads(options, 1), "use one thread")
            check(api.SetInterOpNumThreads(options, 1), "use one thread")
            check(api.SetSessionLogSeverityLevel(options, 4), "stay quiet")
            if not arena:
                check(api.DisableCpuMemArena(options), "do without an arena")
                check(api.DisableMemPattern(options), "do without memory patterns")
            check(api.CreateSessionFromArray(env, data, n_bytes, options, &self.session), "load the model")
        finally:
            api.ReleaseSessionOptions(options)
        check(api.SessionGetInputCount(self.session, &n), "count inputs")
        self.inputs = [value_info(self.session, i, True) for i in range(n)]
        check(api.SessionGetOutputCount(self.session, &n), "count outputs")
        self.outputs = [value_info(self.session, i, False) for i in range(n)]
        self._choose_states([tuple(pair) for pair in carry])
        self._choose(output)

    def _choose_states(self, carry):
        """Find the recurrent states among inputs and outputs; ModelError names the one that is not as it must be."""
        if len(carry) > ALPHA_ORT_STATES:
            raise ModelError(f"the model has {len(carry)} states; at most {ALPHA_ORT_STATES} are served")
        states = []
        for name_in, name_out in carry:
            sizes = []
            for name, known in ((name_in, self.inputs), (name_out, self.outputs)):
                found = [i for i in known if i[0] == name]
                if not found or found[0][2] != ALPHA_ORT_FLOAT or not found[0][1]:
                    raise ModelError(f"the model has no float32 state {name!r}; it has {[i[0] for i in known]}")
                shape = tuple(1 if d < 1 else d for d in found[0][1])
                size = 1
                for d in shape:
                    size *= d
                sizes.append((size, shape))
            if sizes[0][0] != sizes[1][0] or not 0 < sizes[0][0] < 1 << 20:
                raise ModelError(f"state {name_in!r} has shape {sizes[0][1]}, {name_out!r} has {sizes[1][1]}")
            states.append((name_in.encode(), name_out.encode(), sizes[0][1], sizes[1][1], sizes[0][0]))
        self.states = states
        self.n_carry = sum(s[4] for s in states)

    def _choose(self, output):
        """Check the one input, pick the one output; ModelError says what the model has instead."""
        taken_in, taken_out = {s[0].decode() for s in self.states}, {s[1].decode() for s in self.states}
        data = [i for i in self.inputs if i[0] not in taken_in]
        if len(data) != 1:
            raise ModelError(f"the model has {len(data)} inputs {[i[0] for i in data]}: one float32 input [1, F] is served")
        name, shape, element = data[0]
        if element != ALPHA_ORT_FLOAT or shape is None or len(shape) not in (2, 3) or shape[0] not in (-1, 1) \
                or any(not 0 < d < 1 << 20 for d in shape[1:]):
            raise ModelError(f"model input {name!r} has shape {shape} (element type {element}): float32 [1, F] or [N, F] with a fixed F is served")
        self.shape = (1, *shape[1:])
        usable = [o for o in self.outputs if o[2] == ALPHA_ORT_FLOAT and o[1] is not None and o[0] not in taken_out
                  and (len(o[1]) == 1 or (len(o[1]) == 2 and o[1][0] in (-1, 1)))]
        named = [o for o in usable if output is None or o[0] == output]
        if not named:
            wanted = f"float32 output {output!r}" if output is not None else "float32 output [1, K]"
            raise ModelError(f"the model has no {wanted}; it has {[(o[0], o[1]) for o in self.outputs]}")
        out_name, out_shape, _ = named.pop()
        width = out_shape[1] if len(out_shape) == 2 else 1
        if not 0 < width < 1 << 16:
            raise ModelError(f"model output {out_name!r} has shape {out_shape}: its last dimension must be fixed")
        self.n_in, self.n_out = shape[1] * (shape[2] if len(shape) == 3 else 1), width
        self.name_in, self.name_out = name.encode(), out_name.encode()

    def kernel(self, *, binding=True):
        """A private :class:`OrtKernel` for one pipeline; ``binding`` chooses the library's IOBinding over plain Run."""
        return OrtKernel(self, binding=binding)

    def __dealloc__(self):
        if self.session != NULL:
            api.ReleaseSession(self.session)


@cython.final
cdef class OrtKernel(ModelKernel):
    """One pipeline's way to call an :class:`OrtModel`: buffers, values and binding, made once."""

    def __cinit__(self, OrtModel model not None, *, bint binding=True):
        cdef int i
        self.s = NULL
        self.model = model
        self.s = <alpha_ort_scratch *>calloc(1, sizeof(alpha_ort_scratch))
        if self.s == NULL:
            raise MemoryError()
        self.s.api = &api
        self.s.session = model.session
        self.s.n_in, self.s.n_out = <unsigned int>model.n_in, <unsigned int>model.n_out
        self.s.n_states = <unsigned int>len(model.states)
        out_shape = next(o[1] for o in model.outputs if o[0].encode() == model.name_out)
        ports = [(model.name_in, model.shape, model.name_out, (1, model.n_out)[-len(out_shape):])]
        ports += [(name_in, shape_in, name_out, shape_out) for name_in, name_out, shape_in, shape_out, _ in model.states]
        self.tensors = []
        for i, (name_in, shape_in, name_out, shape_out) in enumerate(ports):
            self.s.name_in[i], self.s.name_out[i] = name_in, name_out
            self._wrap(shape_in, &self.s.value_in[i], "the input")
            self._wrap(shape_out, &self.s.value_out[i], "the output")
        self.s.x, self.s.y = (<Tensor>self.tensors[0]).data, (<Tensor>self.tensors[1]).data
        for i in range(len(model.states)):
            self.s.state_in[i] = (<Tensor>self.tensors[2 * i + 2]).data
            self.s.state_out[i] = (<Tensor>self.tensors[2 * i + 3]).data
            self.s.state_size[i] = <unsigned int>model.states[i][4]
        if binding:
            check(api.CreateIoBinding(model.session, &self.s.binding), "bind")
            for i in range(len(ports)):
                check(api.BindInput(self.s.binding, self.s.name_in[i], self.s.value_in[i]), "bind an input")
                check(api.BindOutput(self.s.binding, self.s.name_out[i], self.s.value_out[i]), "bind an output")
        self.c.run = alpha_ort_run
        self.c.scratch = self.s
        self.c.n_in, self.c.n_out, self.c.n_carry = self.s.n_in, self.s.n_out, <unsigned int>model.n_carry

    cdef int _wrap(self, shape, ort **value, what) except -1:
        """A buffer for one input or output, and ORT's value over it."""
        cdef int64_t dims[16]
        cdef size_t size = 1, i, rank = len(shape)
        for i in range(rank):
            dims[i] = shape[i]
            size *= <size_t>dims[i]
        buffer = Tensor(1, size)
        self.tensors.append(buffer)
        return check(api.CreateTensorWithDataAsOrtValue(memory, (<Tensor>buffer).data, size * sizeof(float), dims, rank,
                                                        ALPHA_ORT_FLOAT, value), f"wrap {what}")

    def last_error(self):
        return self.s.error.decode("utf-8", "replace")

    @property
    def failures(self):
        """Calls that ORT refused."""
        return self.s.failures

    def __dealloc__(self):
        cdef int i
        # values before the session, which self.model releases afterwards
        self.c.run = NULL
        if self.s != NULL:
            if self.s.binding != NULL:
                api.ReleaseIoBinding(self.s.binding)
            for i in range(1 + ALPHA_ORT_STATES):
                if self.s.value_in[i] != NULL:
                    api.ReleaseValue(self.s.value_in[i])
                if self.s.value_out[i] != NULL:
                    api.ReleaseValue(self.s.value_out[i])
            free(self.s)
