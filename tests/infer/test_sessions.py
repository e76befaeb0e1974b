from __future__ import annotations

import ctypes
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from infer import sessions
from infer.amplitude import scale_amplitude
from infer.card import read_card, write_card
from infer.demo import write_demo
from infer.errors import DependencyError, DeviceError, ModelError, OptionError
from infer.models import find_model, load_model
from infer.patch_engine import classify_samples
from infer.patches import cut_patches
from infer.sessions import Device, Model, choose_device
from infer.survey import open_survey

from .conftest import build_model, card_for

HAS_CUDA = sessions.cuda_obstacle() is None
no_cuda = pytest.mark.skipif(HAS_CUDA, reason="CUDA runs here")


@no_cuda
def test_cuda_that_cannot_run_is_an_error_with_the_reason(tiny_model):
    with pytest.raises(DeviceError) as error:
        load_model(tiny_model(8), "cuda")
    assert str(error.value) == (
        f"CUDA device 0 cannot be used: {sessions.cuda_obstacle()} `infer doctor` shows what can run here."
    )


@no_cuda
def test_auto_runs_on_the_cpu_and_knows_why(tiny_model):
    model = load_model(tiny_model(8), "auto")
    assert model.device == Device("cpu")
    assert model.device_reason == sessions.cuda_obstacle()


@pytest.mark.skipif(not HAS_CUDA, reason="no CUDA here")
def test_cuda_gives_the_answers_of_the_cpu(tiny_model):
    from .test_classify import CLIP, classify, section_of

    on_cpu = classify(section_of(30, 40), load_model(tiny_model(8), "cpu"), CLIP)
    model = load_model(tiny_model(8), "cuda")
    np.testing.assert_allclose(classify(section_of(30, 40), model, CLIP).probabilities, on_cpu.probabilities, atol=1e-5)
    assert str(model.device).startswith("CUDA:0 (")


@pytest.fixture
def gpu_build(monkeypatch):
    """An onnxruntime that offers CUDA, on a machine with one CUDA device whose libraries load."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(sessions, "cuda_device_names", lambda: ("Tiny GPU",))
    monkeypatch.setattr(sessions, "_cuda_library_obstacle", lambda: None)


def test_a_gpu_that_is_there_is_chosen_by_auto(gpu_build):
    assert choose_device("auto") == (Device("cuda", 0, "Tiny GPU"), "")
    assert str(choose_device("cuda:0")[0]) == "CUDA:0 (Tiny GPU)"


def test_a_device_beyond_those_there_are(gpu_build):
    with pytest.raises(DeviceError) as error:
        choose_device("cuda:3")
    assert str(error.value) == (
        "CUDA device 3 cannot be used: there is 1 CUDA device, numbered from 0. `infer doctor` shows what can run here."
    )


@pytest.mark.parametrize(
    ("precision", "device", "settings"),
    [
        ("fp32", "cuda", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
        ("fp32", "cuda:1", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0", "device_id": "1"}),
        ("fp16", "cuda", {"cudnn_conv_algo_search": "EXHAUSTIVE", "prefer_nhwc": "1"}),
        ("int8", "cuda", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "1"}),
        ("bf16", "auto", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
    ],
)
def test_cuda_is_set_by_the_models_precision(precision, device, settings, gpu_build, tmp_path, monkeypatch):
    sessions.session_options()  # which has a session of its own, once
    asked = []
    start = ort.InferenceSession

    def session(path, options, *, providers, enable_fallback):
        asked.append(providers)
        assert options.get_session_config_entry("session.disable_quant_qdq") == "1"
        started = start(path, options, providers=["CPUExecutionProvider"])
        started.get_providers = lambda: [providers[0][0], providers[1]]
        return started

    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(sessions, "cuda_device_names", lambda: ("Tiny GPU", "Another"))
    path = build_model(tmp_path / "model.onnx", 8)
    write_card(path, replace(card_for(8), precision=precision))
    assert Model(path, device).device.kind == "cuda"
    assert asked == [[("CUDAExecutionProvider", settings), "CPUExecutionProvider"]]


def test_the_model_of_products_multiplies():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 64, (5, 7), np.uint8), rng.integers(-64, 64, (7, 3), np.int8)
    found = ort.InferenceSession(sessions.PRODUCTS, providers=["CPUExecutionProvider"]).run(None, {"a": a, "b": b})[0]
    np.testing.assert_array_equal(found, a.astype(int) @ b)


@pytest.mark.parametrize(("product", "saturates"), [(255 * 127, False), (32767 // 2, True)])
def test_int8_takes_a_setting_only_where_products_saturate(product, saturates, monkeypatch):
    class Session:
        def __init__(self, *_, **__): ...

        def run(self, _, inputs):
            return [np.full((16, 16), inputs["a"].shape[1] * product, np.int32)]

    sessions._products_saturate.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(ort, "InferenceSession", Session)
        options = sessions.session_options()
    sessions._products_saturate.cache_clear()
    if saturates:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    else:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")


def test_an_onnxruntime_without_cuda_on_a_machine_with_a_gpu(gpu_build, monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert sessions.cuda_obstacle() == (
        "the installed onnxruntime is the one without CUDA. "
        'Replace it: `pip uninstall onnxruntime`, then `pip install "facies-edge[gpu]"`.'
    )


def test_no_driver(gpu_build, monkeypatch):
    def no_driver():
        raise OSError("there is no NVIDIA driver")

    monkeypatch.setattr(sessions, "cuda_device_names", no_driver)
    assert sessions.cuda_obstacle() == "there is no NVIDIA driver."


@no_cuda
def test_a_driver_that_is_not_there_is_said_without_jargon(monkeypatch):
    def missing(path):
        raise OSError("libcuda.so.1: cannot open shared object file")

    sessions.cuda_device_names.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert sessions.cuda_obstacle() == "there is no NVIDIA driver."


@no_cuda
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_goes_on_with_the_cpu_where_a_cuda_session_does_not_start(gpu_build, tiny_model):
    model = Model(tiny_model(8), "auto")
    assert model.device == Device("cpu")
    assert model.device_reason.startswith("a session on the GPU did not start: CUDA device 0 cannot be used: ")


def test_a_batch_that_fails_is_a_sentence(tiny_model, monkeypatch):
    runner = Model(tiny_model(8), "cpu").runner(3)

    class Broken:
        def run_with_iobinding(self, _):
            raise RuntimeError("no memory left")

    monkeypatch.setattr(runner, "_session", Broken())
    with pytest.raises(DeviceError) as error:
        runner.run()
    assert str(error.value) == (
        "A batch of 3 patches failed in onnxruntime, which says “no memory left”. If it is short of memory, a smaller "
        "batch size takes less."
    )


@no_cuda
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_session_that_silently_leaves_cuda_out_is_an_error(gpu_build, tiny_model):
    """What onnxruntime does where the CUDA provider fails: it starts on the CPU and says nothing to its caller."""
    with pytest.raises(DeviceError, match=r"^CUDA device 0 cannot be used: onnxruntime "):
        Model(tiny_model(8), "cuda")


@no_cuda
def test_a_library_that_does_not_load_is_named(monkeypatch):
    def missing(path):
        raise OSError("libcublasLt.so.13: cannot open shared object file: No such file or directory")

    sessions._cuda_library_obstacle.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert sessions._cuda_library_obstacle() == (
        'a library of CUDA or cuDNN does not load: libcublasLt.so.13. `pip install "facies-edge[gpu]"` brings them.'
    )
    sessions._cuda_library_obstacle.cache_clear()


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:x", "cpu:1", "cuda:-1", ""])
def test_devices_that_do_not_exist(asked):
    with pytest.raises(OptionError) as error:
        choose_device(asked)
    assert str(error.value) == f"There is no device '{asked}': use auto, cpu, cuda or cuda:N, such as cuda:0."


def test_without_onnxruntime_the_extra_is_named(tmp_path):
    """In another process: a module that is imported cannot be taken away."""
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from infer import load_model\n"
        "try: load_model(sys.argv[1])\n"
        "except ImportError as error: print(error)\n"
    )
    path = build_model(tmp_path / "model.onnx", 8)
    write_card(path, card_for(8))
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == (
        'No onnxruntime is installed: `pip install "facies-edge[cpu]"`, or `pip install "facies-edge[gpu]"` for a '
        "machine with an NVIDIA GPU."
    )
    assert issubclass(DependencyError, ImportError)


def test_a_model_that_breaks_its_card(tmp_path):
    path = build_model(tmp_path / "model.onnx", 8)
    write_card(path, card_for(16))
    with pytest.raises(ModelError) as error:
        Model(path, "cpu")
    assert str(error.value) == (
        "model.onnx is not a patch model: by its card it should take `patches` float32 [batch, 16, 16] and give "
        "`probabilities` float32 [batch, 3], but it takes {'patches': ('tensor(float)', [8, 8])} and gives "
        "{'probabilities': ('tensor(float)', [3])}."
    )


def test_a_model_for_batches_of_one_size(tmp_path):
    path = build_model(tmp_path / "model.onnx", 8, batch=1)
    write_card(path, card_for(8))
    with pytest.raises(ModelError) as error:
        Model(path, "cpu")
    assert str(error.value) == "model.onnx runs batches of one size only: export it with a free batch dimension."


def test_the_batch_size_follows_the_device_and_the_work(tiny_model):
    model = Model(tiny_model(64), "cpu")
    assert model.batch_size(10**6) == sessions.CPU_BATCH_BYTES // (4 * 64 * 64)
    assert model.batch_size(5) == 5
    assert model.batch_size(10**6, asked=7) == 7


def test_integers_are_multiplied_exactly_on_every_processor(tmp_path):
    """Those without VNNI saturate if left alone: probabilities of VGG16 were up to 0.26 away."""
    survey = open_survey(write_demo(tmp_path, inlines=range(300, 301)).survey)
    scaled = scale_amplitude(survey.read_inline(300).amplitude, survey.amplitude_clip)
    traces, samples = np.arange(8, 232, 29), np.arange(8, 256, 31)
    model = find_model("vgg16")
    assert read_card(model).precision == "int8"
    probabilities = classify_samples(scaled, traces, samples, Model(model, "cpu"))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # floats between roundings
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    patches = cut_patches(scaled, np.repeat(traces, samples.size), np.tile(samples, traces.size), 64)
    expected = session.run(None, {"patches": patches})[0].T.reshape(probabilities.shape)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=0.05)
