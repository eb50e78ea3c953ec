"""The processor, compiling, loading, and the cache of object code on disk."""

import ctypes
import os
import stat
import threading

import pytest

from chainrule.backends.native import code_cache, object_code, processor
from chainrule.errors import ArgumentError

TEXT = """
define i64 @add(i64 %a, i64 %b) {
  %c = add i64 %a, %b
  ret i64 %c
}
"""

AXPY = """
define void @axpy(ptr noalias %x, ptr noalias %y, i64 %n) {
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %px = getelementptr float, ptr %x, i64 %i
  %py = getelementptr float, ptr %y, i64 %i
  %vx = load float, ptr %px
  %vy = load float, ptr %py
  %product = fmul FLAGS float %vx, %vx
  %sum = fadd FLAGS float %product, %vy
  store float %sum, ptr %py
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""


def cached(text, chosen):
    """The object code of a text that is its own key."""
    return code_cache.cached(text, lambda: object_code.compile_ir(text, chosen), chosen)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def compilations(monkeypatch):
    """The texts that were compiled rather than found."""
    texts, compile_ir = [], object_code.compile_ir

    def counted(text, chosen):
        texts.append(text)
        return compile_ir(text, chosen)

    monkeypatch.setattr(object_code, "compile_ir", counted)
    return texts


def add(code):
    library = object_code.load(code, ["add"])
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    return kind(library.address("add"))(2, 40)


def test_code_runs():
    assert add(object_code.compile_ir(TEXT, processor.host())) == 42


def test_an_unknown_name_is_an_error_and_not_the_end_of_the_process():
    code = object_code.compile_ir(TEXT, processor.host())
    with pytest.raises(KeyError, match="subtract"):
        object_code.load(code, ["subtract"])
    with pytest.raises(KeyError, match="subtract"):
        object_code.load(code, ["add"]).address("subtract")


def test_wrong_ir_is_refused():
    with pytest.raises(RuntimeError):
        object_code.compile_ir("define i64 @f() { ret i32 0 }", processor.host())


@pytest.mark.parametrize("limit", ["", "avx2", "sse"])
def test_vectors_are_as_wide_as_the_target_says(limit, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", limit)
    chosen = processor.host()
    if not chosen.x86:
        pytest.skip("reads x86 assembly")
    text = object_code.assembly(AXPY.replace("FLAGS", "contract"), chosen)
    registers = {512: "zmm", 256: "ymm", 128: "xmm"}
    assert f"%{registers[chosen.vector_bits]}" in text
    assert not [r for bits, r in registers.items() if bits > chosen.vector_bits and r in text]
    assert ("fmadd" in text) == chosen.fma
    assert chosen.lanes(32) == 2 * chosen.lanes(64) == chosen.vector_bits // 32
    assert chosen.registers == (32 if chosen.vector_bits == 512 else 16)
    assert chosen.vector_bits <= {"": 512, "avx2": 256, "sse": 128}[limit]


def test_only_operations_marked_so_are_fused():
    assert "fmadd" not in object_code.assembly(AXPY.replace("FLAGS", ""), processor.host())


def test_features_that_are_not_known_are_an_error(monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", "avx3")
    with pytest.raises(ArgumentError, match="avx3"):
        processor.host()


def test_code_for_another_machine():
    arm = processor.cross("aarch64-unknown-linux-gnu")
    assert "fmla" in object_code.assembly(AXPY.replace("FLAGS", "contract"), arm)
    assert (arm.vector_bits, arm.registers, arm.fma, arm.x86) == (128, 32, True, False)
    assert object_code.compile_ir(TEXT, arm)[:4] == b"\x7fELF"


def test_the_second_time_the_code_is_found(folder, compilations):
    first = cached(TEXT, processor.host())
    assert cached(TEXT, processor.host()) == first
    assert len(compilations) == 1
    assert add(first) == 42


def test_another_text_or_target_is_another_entry(folder, compilations, monkeypatch):
    cached(TEXT, processor.host())
    cached(TEXT.replace("add i64", "sub i64"), processor.host())
    cached(TEXT, processor.cross("aarch64-unknown-linux-gnu"))
    assert len(compilations) == len(list(folder.iterdir())) == 3


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_only_the_owner_has_rights(folder):
    cached(TEXT, processor.host())
    (entry,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign", "magic"])
def test_a_damaged_entry_is_compiled_again(folder, compilations, damage):
    good = cached(TEXT, processor.host())
    (entry,) = folder.iterdir()
    content = entry.read_bytes()
    entry.write_bytes(
        {
            "flip": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
            "truncate": content[:-1],
            "empty": b"",
            "foreign": b"\x7fELF" + content,
            "magic": b"X" + content[1:],
        }[damage]
    )
    assert cached(TEXT, processor.host()) == good
    assert len(compilations) == 2
    assert entry.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_pipe_in_the_place_of_an_entry_does_not_keep_waiting(folder, compilations):
    good = cached(TEXT, processor.host())
    (entry,) = folder.iterdir()
    entry.unlink()
    os.mkfifo(entry, 0o600)
    assert cached(TEXT, processor.host()) == good
    assert len(compilations) == 2
    assert entry.is_file()


def test_an_entry_under_the_name_of_another_is_not_used(folder, compilations):
    cached(TEXT.replace("add i64", "sub i64"), processor.host())
    (other,) = folder.iterdir()
    first = cached(TEXT, processor.host())
    (entry,) = set(folder.iterdir()) - {other}
    entry.write_bytes(other.read_bytes())
    assert cached(TEXT, processor.host()) == first
    assert len(compilations) == 3


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_what_others_may_write_is_not_used(folder, compilations):
    cached(TEXT, processor.host())
    (entry,) = folder.iterdir()
    entry.chmod(0o622)
    cached(TEXT, processor.host())
    assert len(compilations) == 2
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    folder.chmod(0o777)
    cached(TEXT, processor.host())
    assert len(compilations) == 3


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_a_folder_of_another_user_is_not_used(folder, compilations, monkeypatch):
    cached(TEXT, processor.host())
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    cached(TEXT, processor.host())
    assert len(compilations) == 2


def test_without_a_folder_it_compiles(folder, compilations):
    folder.write_text("a file stands where the folder should be")
    assert add(cached(TEXT, processor.host())) == 42
    assert add(cached(TEXT, processor.host())) == 42
    assert len(compilations) == 2


def test_a_full_disk_leaves_nothing_behind(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert add(cached(TEXT, processor.host())) == 42
    assert list(folder.iterdir()) == []


def test_what_was_not_used_for_longest_goes_first(folder, monkeypatch):
    monkeypatch.setattr(code_cache, "_TRIM_EVERY", 1)
    texts = [TEXT.replace("%c", f"%c{i}") for i in range(4)]
    cached(texts[0], processor.host())
    size = sum(entry.stat().st_size for entry in folder.iterdir())
    monkeypatch.setattr(code_cache, "_LIMIT", 3 * size)
    for age, text in enumerate(texts[1:3]):
        cached(text, processor.host())
        for entry in folder.iterdir():
            os.utime(entry, (entry.stat().st_atime, 1000 + age))
    cached(texts[0], processor.host())  # used again: now the newest
    cached(texts[3], processor.host())
    kept = {entry.stem for entry in folder.iterdir()}
    assert len(kept) == 3
    assert code_cache._entry_name(texts[0], processor.host()) in kept
    assert code_cache._entry_name(texts[3], processor.host()) in kept


def test_there_are_never_many_entries(folder, monkeypatch):
    monkeypatch.setattr(code_cache, "_MOST", 3)
    monkeypatch.setattr(code_cache, "_TRIM_EVERY", 2)
    for i in range(40):
        cached(TEXT.replace("%c", f"%c{i}"), processor.host())
    assert len(list(folder.iterdir())) < 20, "looked through about every second time"


def test_a_folder_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CHAINRULE_CACHE", "~/code")
    cached(TEXT, processor.host())
    assert len(list((tmp_path / "code").iterdir())) == 1


def test_many_at_once_all_get_the_code(folder):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(cached(TEXT, processor.host())))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("system", "name", "variable", "end"),
    [
        ("linux", "posix", "XDG_CACHE_HOME", ""),
        ("linux", "posix", None, ".cache"),
        ("darwin", "posix", None, "Library/Caches"),
    ],
)
def test_the_folder_is_where_the_system_keeps_such_things(
    system, name, variable, end, tmp_path, monkeypatch
):
    monkeypatch.setattr(code_cache.sys, "platform", system)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert code_cache._user_cache() == tmp_path / end
