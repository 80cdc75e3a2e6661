"""The command as a process: its standard streams, its current folder, and users without a home folder."""

import os
import stat
import subprocess
import sys

import pytest

from alexnet_jax.cli.main import main
from alexnet_jax.training.workdir import saved_steps
from tests.conftest import RECIPES
from tests.sweep.conftest import write_sweep

COMMAND = f"{sys.executable} -m alexnet_jax"
TRAIN = f"train --config={RECIPES / 'tiny.py'} --config.num_steps=2"


def shell(line, **options):
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300, **options)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_standard_streams_saves(closed, cache_dir, tmp_path):
    done = shell(f"{COMMAND} {TRAIN} --workdir={tmp_path}/w --config.data.cache_dir={cache_dir} {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert saved_steps(tmp_path / "w") == [2]


def test_a_mistake_has_its_status_if_nobody_can_read_the_message():
    assert shell(f"{COMMAND} trian 2>&-").returncode == 2


@pytest.mark.parametrize("verb", ["recipes", "--help", "evaluate"])
def test_a_result_that_cannot_be_printed_is_an_error(verb, trained, tmp_path):
    json = f"--workdir={trained} --json={tmp_path}/r.json" if verb == "evaluate" else ""
    done = shell(f"{COMMAND} {verb} {json} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == "alexnet-jax: standard output can't be written: No space left on device\n"
    assert (tmp_path / "r.json").exists() == bool(json)


def test_the_readers_end_is_no_error(trained):
    done = shell(f"{COMMAND} evaluate --workdir={trained} | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout.strip() in ("0", "141")
    assert done.stderr == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_json_goes_to_a_device_that_stays_one(trained, tmp_path, capfd):
    device = tmp_path / "full"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    assert main(["evaluate", f"--workdir={trained}", f"--json={device}"]) == 1
    assert f"--json={device} can't be written: No space left on device" in capfd.readouterr().err
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_report_does_not_replace_a_pipe(trained, tmp_path, capfd):
    os.mkfifo(pipe := tmp_path / "page.html")
    assert main(["report", f"--workdir={trained}", f"--save={pipe}"]) == 2
    assert f"--save={pipe} can't be written (it is a pipe or a device)" in capfd.readouterr().err
    assert pipe.is_fifo()


def test_a_deleted_current_folder_is_no_obstacle(tmp_path):
    assert (
        shell(
            f"rmdir {tmp_path}/here; {COMMAND} recipes", cwd=(tmp_path / "here").mkdir() or tmp_path / "here"
        ).returncode
        == 0
    )


@pytest.mark.parametrize("name", ["queue", "random", "signal", "enum", "typing", "numpy", "jax"])
def test_the_current_folder_shadows_no_module(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('from the current folder')\n")
    done = shell(f"{COMMAND} train --config={RECIPES / 'tiny.py'} --dry_run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_current_folder_shadows_no_module_of_a_sweeps_networks(cache_dir, tmp_path):
    for name in ("queue", "random", "types"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('from the current folder')\n")
    recipe = write_sweep(tmp_path / "mine.py", "(Member('base', TINY, {'num_steps': 2}),)")
    command = f"{sys.executable} -P -m alexnet_jax sweep --config={recipe} --workdir=w"
    line = f"{command} --config.data.cache_dir={cache_dir}"
    assert shell(line, cwd=tmp_path).returncode == 0


def test_a_user_without_a_home_folder_is_told_what_to_set(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    train = ["train", f"--config={RECIPES / 'tiny.py'}", "--config.num_steps=2"]
    assert main([*train, f"--workdir={tmp_path}/w"]) == 2
    assert main([*train, "--workdir=~/w", f"--config.data.cache_dir={tmp_path}"]) == 2
    first, second = capfd.readouterr().err.splitlines()
    assert "has no home folder" in first
    assert f"alexnet-jax: ~/w: user {os.getuid()} has no home folder: set HOME, or write the whole" in second


@pytest.mark.parametrize("files", [9, 12])
def test_a_checkpoint_without_file_descriptors_fails_in_one_line(files, cache_dir, tmp_path):
    """Orbax's threads would wait for minutes, and print tracebacks."""
    line = f"ulimit -n {files}; {COMMAND} {TRAIN} --workdir={tmp_path}/w --config.data.cache_dir={cache_dir}"
    done = shell(line)
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert error.startswith("alexnet-jax: ")
    assert "Too many open files" in error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_a_full_disk_under_a_checkpoint_is_one_line_and_the_run_resumes(cache_dir, tmp_path):
    config = f"--config={RECIPES / 'tiny.py'} --config.data.cache_dir={cache_dir}"
    train = f"{COMMAND} train --workdir=small/w {config}"
    (tmp_path / "run.sh").write_text(
        f"mkdir small; mount -t tmpfs -o size=200k tmpfs small || exit 77\n{train} >first.txt; echo $?\n"
        f"mount -o remount,size=4m small; {train} >second.txt; echo $?; ls small/w/checkpoints\n"
    )
    done = shell("unshare -m bash run.sh", cwd=tmp_path)
    if done.returncode in (1, 77):
        pytest.skip("file systems can't be mounted here")
    assert done.stdout.split() == ["1", "0", "20", "30", "40"]
    (error,) = done.stderr.splitlines()
    assert "a checkpoint can't be written in" in error
    assert "(No space left on device); earlier ones are intact: run the same command again" in error


def test_ctrl_c_in_a_callback_of_the_garbage_collector_is_not_swallowed():
    code = """if True:
        import gc, signal, sys
        import types
        from alexnet_jax.cli import main, verbs
        def stop(phase, info):
            gc.callbacks.remove(stop)
            signal.raise_signal(signal.SIGINT)
        def verb(args):
            gc.callbacks.append(stop)
            gc.collect()
        verbs.VERBS["recipes"] = types.SimpleNamespace(run=verb)
        sys.exit(main.main(["recipes"]))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "alexnet-jax: stopped\n")


def test_ctrl_c_during_an_import_ends_the_command(tmp_path):
    (tmp_path / "extension.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\n"
        "except BaseException:\n    raise ImportError('as jaxlib and NumPy do')\n"
    )
    (tmp_path / "mine.py").write_text("import extension\n")
    done = shell(f"{COMMAND} train --config=mine.py --workdir=w", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "alexnet-jax: stopped\n")
