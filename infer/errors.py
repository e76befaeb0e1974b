"""What can go wrong, each with a sentence for the user: what was asked, what there is, what to do."""

from __future__ import annotations


class InferError(Exception):
    """Base of every error that this package raises on purpose. Its text is a sentence."""


class SurveyError(InferError, ValueError):
    """The file cannot be read as a survey: not SEG-Y, truncated, pre-stack, without usable line numbers."""


class SurveyNotFoundError(InferError, FileNotFoundError):
    """There is no file at that path."""


class LineNotFoundError(InferError, LookupError):
    """The survey has no line with that number."""


class ModelError(InferError, ValueError):
    """The file is not a model that we can run: no card, wrong inputs, not ONNX."""


class ModelNotFoundError(InferError, FileNotFoundError):
    """No model has that name or path."""


class DeviceError(InferError, RuntimeError):
    """The device that was asked for cannot run a session, with the reason."""


class DependencyError(InferError, ImportError):
    """An optional dependency is missing; the text names the extra that installs it."""


class OutputError(InferError, ValueError):
    """The result cannot be written as asked."""


class OptionError(InferError, ValueError):
    """A value out of its range: a stride of 0, a clip below 0."""


class Cancelled(InferError):  # noqa: N818 - not a fault
    """The caller asked to stop."""
