"""A stand-in for ResMap that behaves as the real program does, standard library only.

It understands the same arguments, waits for its window to be closed, writes beside its input,
and fails in the program's ways. FAKE_MOOD chooses a mishap; FAKE_VERSION the program (1.95 has
other options and file names); FAKE_CLOSED is the file by which the stand-ins for the display and
for xdotool say that the window was closed.
"""

import array
import os
import re
import struct
import sys
import time

USAGE = "Usage: ResMap [(--noguiSingle INPUT) | (--noguiSplit INPUT1 INPUT2)] [options]"
NUMBERS = {"vxSize": 0.0, "pVal": 0.05, "minRes": 0.0, "maxRes": 0.0, "stepRes": 1.0}
MODES = {0: "b", 1: "h", 2: "f"}
VERSION = os.environ.get("FAKE_VERSION", "1.1.4")


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)


def parse(words):
    values, inputs, mask, mode = dict(NUMBERS), [], None, None
    for word in words:
        option = re.fullmatch(r"--(\w+)=(.+)", word)
        if word in ("--noguiSingle", "--noguiSplit"):
            mode = word
        elif option and option[1] in NUMBERS:
            values[option[1]] = float(option[2])
        elif option and option[1] == "maskVol":
            mask = option[2]
        elif word in ("--vis2D", "--launchChimera", "--noiseDiag"):
            continue
        elif word in ("--doBenchMarking", "--use_gpu=yes") and VERSION.startswith("1.95"):
            continue
        elif word.startswith("-"):
            fail(USAGE)
        else:
            inputs.append(word)
    if len(inputs) != {"--noguiSingle": 1, "--noguiSplit": 2}.get(mode):
        fail(USAGE)
    if not 0 < values["pVal"] <= 0.05:
        fail("The confidence level (--pVal) is outside of the [0, 0.05] range.")
    if values["stepRes"] < 0.25:
        fail("The step size (--stepRes) is too small.")
    return values, inputs, mask


def read(path):
    try:
        with open(path, "rb") as handle:
            header, data = handle.read(1024), handle.read()
        nx, ny, nz, mode = struct.unpack("<4i", header[:16])
        assert header[208:211] == b"MAP" and mode in MODES
    except (OSError, AssertionError, struct.error):
        fail("The input volume (MRC/CCP4 format) could not be read.")
    values = array.array(MODES[mode])
    values.frombytes(data)
    return (nx, ny, nz), mode, struct.unpack("<f", header[40:44])[0], values


def write(path, shape, mode, cell, labels):
    header = bytearray(1024)
    # The mode is the input's although the data are always float32: the program's own mistake.
    struct.pack_into("<4i", header, 0, *shape, mode)
    struct.pack_into("<3i6f3i", header, 28, *shape, cell, cell, cell, 90, 90, 90, 1, 2, 3)
    mean = sum(labels) / len(labels)
    struct.pack_into("<3f", header, 76, min(labels), max(labels), mean)
    header[208:216] = b"MAP " + bytes((0x44, 0x41, 0, 0))
    struct.pack_into("<i", header, 220, 1)
    header[224:240] = b"ResMap <no date>"
    with open(path, "wb") as handle:
        handle.write(bytes(header) + labels.tobytes())


def levels_of(values, voxel_size):
    low = values["minRes"]
    if low <= 2.2 * voxel_size:
        low = round(2.2 * voxel_size, 1)
    high = values["maxRes"] or round(8 * voxel_size) / 2
    levels = [low]
    while levels[-1] < high:
        levels.append(levels[-1] + values["stepRes"])
    return levels


def wait_for_the_window():
    if not os.environ.get("DISPLAY"):
        fail("TclError: no display name and no $DISPLAY environment variable")
    while not os.path.exists(os.environ["FAKE_CLOSED"]):
        time.sleep(0.02)


def answer_version(mood):
    if mood == "unversioned":
        fail(USAGE)
    if mood == "slow version":
        time.sleep(600)
    print("ResMap " + VERSION if VERSION.startswith("1.95") else VERSION)


def labels_of(shape, levels, mood):
    n, middle = shape[0], shape[0] // 2
    labels = array.array("f", [100.0] * n**3)
    if mood == "all100":
        return labels
    for index in range(len(labels)):
        z, y, x = index // n**2, index // n % n, index % n
        if max(abs(z - middle), abs(y - middle), abs(x - middle)) < n // 4:
            labels[index] = levels[0] if mood == "single" else levels[z % len(levels)]
    if mood == "nan":
        labels[0] = float("nan")
    return labels


def report():
    words = ("MEAN RESOLUTION in MASK = 3.10", "MEDIAN RESOLUTION in MASK = 3.00")
    if VERSION.startswith("1.95"):
        with open("ResMaps.log", "w") as handle:
            handle.write("".join("\x1b[92m" + line + "\x1b[0m\n" for line in words))
    else:
        print("\n  " + "\n  ".join(words))


def out_of(first, mode, mood):
    stem, extension = os.path.splitext(first)
    if mood == "wrong name":
        return stem + "_locres" + extension
    if VERSION.startswith("1.95"):
        return stem + "_ori_resmap" + extension
    return stem + "_resmap" + extension


def main():
    mood = os.environ.get("FAKE_MOOD", "")
    if sys.argv[1:] == ["--version"]:
        answer_version(mood)
        return
    values, inputs, mask = parse(sys.argv[1:])
    shape, mode, cell, density = read(inputs[0])
    for other in [*inputs[1:], *([mask] if mask else [])]:
        read(other)
    print("== BEGIN Resolution Map Calculation ==\n= Reading Data\n= Computing Mask")
    if len(set(shape)) != 1:
        fail("IndexError: index 64 is out of bounds for axis 0 with size 64")
    if mood == "asks":
        print("Use the GPU? [y/n] ", flush=True)
        assert sys.stdin.readline() == "n\n", "nobody answered"
    if mood == "hang":
        time.sleep(600)
    benchmarking = "--doBenchMarking" in sys.argv and os.environ.get("DISPLAY")
    if not benchmarking:
        wait_for_the_window()
    for step in range(1500):
        sys.stdout.write("\rProgress: [" + "#" * 60 + "] %.1f%%" % (step / 15))
    if mood == "crash":
        fail("FloatingPointError: invalid value encountered in true_divide")
    if mood == "killed":
        os.kill(os.getpid(), 9)
    voxel_size = values["vxSize"] or cell / shape[0]
    labels = labels_of(shape, levels_of(values, voxel_size), mood)
    report()
    if mood == "nothing":
        return
    out = out_of(inputs[0], mode, mood)
    if mood == "smaller":
        shape = (8, 8, 8)
        labels = labels_of(shape, levels_of(values, voxel_size), mood)
    write(out, shape, mode, cell, labels)
    if len(inputs) == 2 and VERSION.startswith("1.95"):
        write(out.replace("_ori_resmap", "_ori"), shape, mode, cell, density)
    with open(out.replace(".mrc", "_chimera.cmd"), "w") as handle:
        handle.write("# Color a map by local resolution computed by ResMap\n")
    if mood == "truncated":
        os.truncate(out, 5000)
    if mood == "two files":
        write(out.replace("map", "map2", 1), shape, mode, cell, labels)
    if mood == "crash after writing":
        fail('TclError: can\'t invoke "event" command: application has been destroyed')
    print("RESULT WRITTEN to MRC file: " + out)


main()
