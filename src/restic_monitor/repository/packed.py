"""Plaintext of snapshots, locks and indexes: JSON, since version 2 of the format compressed by zstd.

Source: restic's doc/design.rst, "Unpacked Data Format".
"""

from __future__ import annotations

from restic_monitor.repository import Damaged

SNAPSHOT_LIMIT_BYTES = 64 * 1024 * 1024
INDEX_LIMIT_BYTES = 128 * 1024 * 1024
LOCK_LIMIT_BYTES = 1024 * 1024
_ZSTD = b"\x02"
_STEP_BYTES = 256
"""Four bytes of a frame can become 128 KiB, so that this many become 8 MiB at most."""
_WINDOW_LIMIT_BYTES = 32 * 1024 * 1024
"""restic's own are 8 MiB at most."""


def unpack(plaintext: bytes, limit: int) -> bytes:
    """The JSON within the plaintext of a snapshot, a lock or an index: as it is, or since version 2 of the format compressed.
    At most `limit` bytes, whatever the compressed frame says. Raises Damaged."""
    if plaintext[:1] in (b"{", b"["):
        if len(plaintext) > limit:
            raise Damaged(f"larger than {limit // 1024 // 1024} MiB")
        return plaintext
    if plaintext[:1] != _ZSTD:
        raise Damaged("neither JSON nor compressed")
    import zstandard  # noqa: PLC0415 - for the format's version 2

    content = bytearray()
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT_BYTES).decompressobj()
        for start in range(1, len(plaintext), _STEP_BYTES):
            content += decompressor.decompress(plaintext[start : start + _STEP_BYTES])
            if len(content) > limit:
                raise Damaged(f"larger than {limit // 1024 // 1024} MiB when decompressed")
    except zstandard.ZstdError:
        raise Damaged("its compression is broken") from None
    if not decompressor.eof:
        raise Damaged("its compression is cut off")
    return bytes(content)
