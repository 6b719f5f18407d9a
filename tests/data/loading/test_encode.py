"""From stored values to inputs."""

import numpy as np
import torch

from seqboat_lab.data.loading.encode import Bytes, Ids, Real

VALUES = np.array([[0, 7, 255], [3, 0, 0]], np.uint8)
PADDING = np.array([[False, False, False], [False, True, True]])


def test_ids_stay_as_they_are():
    assert Ids()(VALUES, PADDING).tolist() == VALUES.tolist()


def test_bytes_are_shifted_and_padding_is_0():
    assert Bytes()(VALUES, PADDING).tolist() == [[1, 8, 256], [4, 0, 0]]
    assert Bytes()(VALUES, None).tolist() == [[1, 8, 256], [4, 1, 1]]


def test_real_values_are_standardised_and_padding_is_0():
    real = Real(0.5, 0.25, 1 / 255)(VALUES, PADDING)
    assert real.dtype == torch.float32
    np.testing.assert_allclose(real[0], (VALUES[0] / 255 - 0.5) / 0.25, rtol=1e-6)
    assert real[1, 1:].tolist() == [0, 0]


def test_sixteen_bit_audio_does_not_overflow():
    real = Real(-1.0, 2.0)(np.array([[-32768, 32767]], np.int16), None)
    assert real.tolist() == [[-16383.5, 16384.0]]
