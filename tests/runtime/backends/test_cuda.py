"""The wrapper over CUDA: every status is looked at, work is done in stream order, nothing is left behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from eenet_runtime.backends.cuda import CudaSession, count_gpus, find_gpu
from eenet_runtime.errors import BackendError
from tests.runtime.backends.fake_cuda import GIB, CaptureMode, CopyKind, CudaStatus, FakeCuda

MODULE = "cuda.bindings.runtime"


def _install(monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda) -> FakeCuda:
    monkeypatch.setitem(sys.modules, MODULE, cuda)
    return cuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return _install(monkeypatch, FakeCuda())


@pytest.fixture
def session(cuda: FakeCuda) -> Iterator[CudaSession]:
    with CudaSession() as opened:
        yield opened


def test_the_stand_in_has_no_name_that_the_real_module_lacks() -> None:
    real = pytest.importorskip(MODULE)
    names = {name for name in dir(FakeCuda) if name.startswith("cuda")}
    assert len(names) > 20
    assert {name for name in names if not hasattr(real, name)} == set()
    pairs = ((CudaStatus, real.cudaError_t), (CopyKind, real.cudaMemcpyKind), (CaptureMode, real.cudaStreamCaptureMode))
    for mine, theirs in pairs:
        assert {member.name: int(member) for member in mine} == {
            member.name: int(getattr(theirs, member.name)) for member in mine
        }


def test_without_cuda_bindings_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(BackendError, match=r"cuda-bindings is not installed.*eenet\[tensorrt\].*eenet\[rtx\]"):
        count_gpus()


@pytest.mark.parametrize("status", [CudaStatus.cudaErrorNoDevice, CudaStatus.cudaErrorInsufficientDriver])
def test_a_machine_without_gpu_or_driver_has_none(monkeypatch: pytest.MonkeyPatch, status: CudaStatus) -> None:
    cuda = _install(monkeypatch, FakeCuda(driver=0))
    cuda.failures["cudaGetDeviceCount"] = status
    assert count_gpus() == 0
    with pytest.raises(BackendError, match="no NVIDIA GPU found"):
        CudaSession()


def test_a_driver_that_is_too_old_is_not_called_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = _install(monkeypatch, FakeCuda(driver=11040))
    cuda.failures["cudaGetDeviceCount"] = CudaStatus.cudaErrorInsufficientDriver
    with pytest.raises(BackendError, match=r"supports CUDA 11\.4, too old"):
        count_gpus()


@pytest.mark.parametrize("index", [-1, 2])
def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    _install(monkeypatch, FakeCuda(devices=2))
    with pytest.raises(BackendError, match=f"GPU {index} was asked for, 2 found"):
        find_gpu(index)


def test_a_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, FakeCuda(devices=2, driver=12080, compute_capability=(12, 0)))
    gpu = find_gpu(1)
    assert (gpu.index, gpu.name, gpu.compute_capability, gpu.driver) == (1, "Imagined GPU", "12.0", "12.8")
    assert (gpu.multiprocessors, gpu.memory_bytes) == (46, 12 * GIB)


@pytest.mark.parametrize(
    "function",
    [
        "cudaGetDeviceProperties",
        "cudaSetDevice",
        "cudaStreamCreateWithFlags",
        "cudaMemGetInfo",
        "cudaHostAlloc",
        "cudaMalloc",
        "cudaMemcpyAsync",
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaGraphLaunch",
        "cudaStreamSynchronize",
    ],
)
def test_no_status_goes_unnoticed_and_nothing_stays_behind(cuda: FakeCuda, function: str) -> None:
    cuda.failures[function] = CudaStatus.cudaErrorMemoryAllocation

    def use_everything() -> None:
        with CudaSession() as session:
            session.free_bytes()
            array = session.pinned_array((4,), np.float32)
            address = session.device_buffer(array.nbytes)
            session.replay(session.capture(lambda: session.upload(array, address)))
            session.synchronize()

    with pytest.raises(BackendError, match=r"CUDA failed while .*: cudaErrorMemoryAllocation \(the meaning of 2\)"):
        use_everything()
    assert cuda.live == []


def test_a_copy_is_there_after_the_stream_was_waited_for(session: CudaSession) -> None:
    sent, received = session.pinned_array((2, 3), np.float32), session.pinned_array((2, 3), np.float32)
    assert not sent.any()
    address = session.device_buffer(sent.nbytes)
    sent[...] = np.arange(6).reshape(2, 3)
    session.upload(sent, address)
    session.download(address, received)
    assert not received.any()
    session.synchronize()
    assert np.array_equal(received, sent)


def test_recorded_work_is_done_on_replay_with_the_values_of_then(session: CudaSession) -> None:
    sent, received = session.pinned_array((3,), np.uint8), session.pinned_array((3,), np.uint8)
    address = session.device_buffer(3)

    def there_and_back() -> None:
        session.upload(sent, address)
        session.download(address, received)

    graph = session.capture(there_and_back)
    sent[...] = 7
    session.synchronize()
    assert not received.any()
    for value in (7, 9):
        sent[...] = value
        session.replay(graph)
        session.synchronize()
        assert (received == value).all()


def test_work_that_cannot_be_recorded_leaves_the_stream_usable(cuda: FakeCuda, session: CudaSession) -> None:
    sent, received = session.pinned_array((3,), np.uint8), session.pinned_array((3,), np.uint8)
    address = session.device_buffer(3)

    def give_up() -> None:
        session.upload(sent, address)
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        session.capture(give_up)
    cuda.failures["cudaStreamEndCapture"] = CudaStatus.cudaErrorStreamCaptureUnsupported
    with pytest.raises(BackendError, match="cudaErrorStreamCaptureUnsupported"):
        session.capture(lambda: session.upload(sent, address))
    assert not cuda.recording
    assert not [kind for kind, _ in cuda.live if kind in ("graph", "executable")]
    sent[...] = 5
    session.upload(sent, address)
    session.download(address, received)
    session.synchronize()
    assert (received == 5).all()


def test_what_was_made_last_is_freed_first_and_once(cuda: FakeCuda) -> None:
    session = CudaSession()
    array = session.pinned_array((3,), np.uint8)
    address = session.device_buffer(3)
    session.on_close(lambda: cuda.freed.append("mine"))
    session.capture(lambda: session.upload(array, address))
    cuda.freed.clear()
    session.close()
    session.close()
    assert cuda.freed == ["executable", "mine", "device", "host", "stream"]
    assert cuda.live == []
