import { assert, assertEquals, assertThrows } from "@std/assert";
import { OutputError, UsageError } from "../../cli/errors.ts";
import { exists, Places, writeNew, writeWhole } from "../../cli/files.ts";
import { withFolder } from "./temporary_folder.ts";

const bytes = new Uint8Array([1, 2, 3]);
const checkWritable = (path: string) => new Places().check(path);

function names(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
}

Deno.test(
  "a file is written and replaced, and nothing else is left",
  withFolder((folder) => {
    const path = `${folder}/picture.png`;
    checkWritable(path);
    assertEquals(names(folder), []);
    for (const content of [bytes, new Uint8Array([4])]) {
      writeWhole(path, content);
      assertEquals(Deno.readFileSync(path), content);
    }
    checkWritable(path);
    assertEquals(names(folder), ["picture.png"]);
    assertEquals(Deno.readFileSync(path), new Uint8Array([4]));
  }),
);

Deno.test(
  "what cannot be written is refused, in words that are true, before and after the work",
  withFolder((folder) => {
    Deno.mkdirSync(`${folder}/a-folder`);
    Deno.writeTextFileSync(`${folder}/a-file`, "kept");
    Deno.symlinkSync("nowhere/x.png", `${folder}/a-link`);
    Deno.symlinkSync("circle", `${folder}/circle`);
    const refused = [
      ["nowhere/picture.png", `there is no folder ${folder}/nowhere`],
      ["a-file/picture.png", `${folder}/a-file is not a folder`],
      [`${"x".repeat(252)}.png`, ""],
      ["a-link", `there is no folder ${folder}/nowhere`],
      ["circle", "its links lead in a circle"],
    ] as const;
    for (const [name, words] of refused) {
      const message = `Cannot write ${folder}/${name}: ${words}`;
      assertThrows(() => checkWritable(`${folder}/${name}`), OutputError, message);
      assertThrows(() => writeWhole(`${folder}/${name}`, bytes), OutputError, message);
    }
    assertThrows(
      () => checkWritable(`${folder}/${"x".repeat(252)}.png`),
      OutputError,
      "its name has 256 bytes; at most 255",
    );
    assertThrows(() => checkWritable(`${folder}/a-folder`), OutputError, "it is a folder");
    assertThrows(() => writeWhole(`${folder}/a-folder`, bytes), OutputError, "Cannot write");
    assertEquals(names(folder), ["a-file", "a-folder", "a-link", "circle"]);
    assertEquals(Deno.readTextFileSync(`${folder}/a-file`), "kept");
  }),
);

Deno.test({
  name: "a device is never replaced, and a folder that takes no files is refused",
  // /proc refuses new files even from root.
  ignore: Deno.build.os !== "linux",
  fn: () => {
    assertThrows(() => checkWritable("/dev/null"), OutputError, "it is not a file");
    const words = "Cannot write /proc/picture.png: the folder /proc takes no files";
    assertThrows(() => checkWritable("/proc/picture.png"), OutputError, words);
  },
});

Deno.test(
  "one place that cannot be written says nothing of another in the same folder",
  withFolder((folder) => {
    const places = new Places();
    Deno.mkdirSync(`${folder}/taken`);
    for (const name of ["taken", "x".repeat(300)]) assertThrows(() => places.check(`${folder}/${name}`), OutputError);
    places.check(`${folder}/free.png`);
    assertThrows(() => places.check(`${folder}/nowhere/a.png`), OutputError, "there is no folder");
    assertThrows(() => places.check(`${folder}/nowhere/b.png`), OutputError, `Cannot write ${folder}/nowhere/b.png`);
    Deno.writeTextFileSync(`${folder}/mine`, "kept");
    places.check(`${folder}/mine`);
    assertThrows(
      () => places.check(`${folder}/mine`, true),
      UsageError,
      "mine: it is there already, and --no-clobber keeps it",
    );
  }),
);

Deno.test(
  "the longest names are written, and links are followed, even to what is not there yet",
  withFolder((folder) => {
    const longest = `${"é".repeat(125)}a.png`;
    checkWritable(`${folder}/${longest}`);
    writeWhole(`${folder}/${longest}`, bytes);
    assertEquals(writeNew(folder, [longest, longest.replace("a", "b")], bytes), longest.replace("a", "b"));
    Deno.mkdirSync(`${folder}/deep/er`, { recursive: true });
    Deno.symlinkSync("deep/er", `${folder}/short`);
    Deno.symlinkSync("../target.png", `${folder}/deep/er/link.png`);
    for (const content of [bytes, new Uint8Array([4])]) {
      checkWritable(`${folder}/short/link.png`);
      writeWhole(`${folder}/short/link.png`, content);
      assertEquals(Deno.readFileSync(`${folder}/deep/target.png`), content);
      assert(Deno.lstatSync(`${folder}/deep/er/link.png`).isSymlink);
    }
    assertEquals([names(folder).length, names(`${folder}/deep`)], [4, ["er", "target.png"]]);
  }),
);

/** Numbers a name until it is free. */
function* numbered(): Generator<string> {
  for (let number = 1;; number++) yield `${number}.png`;
}

Deno.test(
  "a new name belongs to one process only",
  withFolder(async (folder) => {
    const module = new URL("../../cli/files.ts", import.meta.url);
    const script = `
      import { Places, writeNew } from "${module}";
      function* numbered() { for (let number = 1;; number++) yield number + ".png"; }
      const [folder, letter] = Deno.args;
      const content = new TextEncoder().encode(letter.repeat(1000));
      Deno.stdin.readSync(new Uint8Array(1));
      const names = Array.from({ length: 25 }, () => {
        // It sweeps what others may be writing.
        new Places().check(folder + "/other.png");
        return writeNew(folder, numbered(), content);
      });
      console.log(names.join());`;
    const writers = ["a", "b", "c", "d"].map((letter) =>
      new Deno.Command(Deno.execPath(), {
        args: ["eval", script, folder, letter],
        stdin: "piped",
        stdout: "piped",
      }).spawn()
    );
    // All begin when all are there.
    for (const { stdin } of writers) await stdin.close();
    const taken = await Promise.all(writers.map(async (writer, i) => {
      const { stdout } = await writer.output();
      return new TextDecoder().decode(stdout).trim().split(",").map((name) => {
        assertEquals(Deno.readTextFileSync(`${folder}/${name}`), "abcd"[i]!.repeat(1000));
        return name;
      });
    }));
    assertEquals(new Set(taken.flat()).size, 100);
    assertEquals(names(folder), Array.from({ length: 100 }, (_, i) => `${i + 1}.png`).sort());
  }),
);

Deno.test(
  "a file that another process sweeps before it is locked is begun anew",
  withFolder((folder) => {
    const { lockSync } = Deno.FsFile.prototype;
    let locked = 0;
    Deno.FsFile.prototype.lockSync = function (exclusive) {
      if (locked++ % 2 === 0) names(folder).forEach((name) => Deno.removeSync(`${folder}/${name}`));
      return lockSync.call(this, exclusive);
    };
    try {
      checkWritable(`${folder}/a.png`);
      writeWhole(`${folder}/a.png`, bytes);
    } finally {
      Deno.FsFile.prototype.lockSync = lockSync;
    }
    assertEquals([locked, names(folder)], [4, ["a.png"]]);
    assertEquals(Deno.readFileSync(`${folder}/a.png`), bytes);
  }),
);

Deno.test(
  "where a file system has no links, a name is still taken once",
  withFolder((folder) => {
    const { linkSync } = Deno;
    Deno.linkSync = () => {
      throw new Deno.errors.PermissionDenied("Operation not permitted (os error 1)");
    };
    try {
      Deno.writeTextFileSync(`${folder}/1.png`, "kept");
      assertEquals(writeNew(folder, numbered(), bytes), "2.png");
      assertEquals(writeNew(folder, ["1.png", "2.png"], bytes), undefined);
      // As if another had come in between.
      const { lstatSync } = Deno;
      Deno.lstatSync = (path) => {
        if (`${path}`.endsWith("1.png")) throw new Deno.errors.NotFound();
        return lstatSync(path);
      };
      try {
        assertEquals(writeNew(folder, numbered(), bytes), "3.png");
      } finally {
        Deno.lstatSync = lstatSync;
      }
    } finally {
      Deno.linkSync = linkSync;
    }
    assertEquals(names(folder), ["1.png", "2.png", "3.png"]);
    assertEquals(Deno.readTextFileSync(`${folder}/1.png`), "kept");
    assertEquals(Deno.readFileSync(`${folder}/2.png`), bytes);
  }),
);

Deno.test({
  name: "killed between writing and renaming, the file is what it was, and the next run sweeps",
  ignore: Deno.build.os === "windows",
  fn: withFolder(async (folder) => {
    const module = new URL("../../cli/files.ts", import.meta.url);
    for (
      const [call, before] of [["writeWhole(path, bytes)", "old"], ["writeNew(folder, ['b.png'], bytes)", undefined]]
    ) {
      const name = before === undefined ? "b.png" : "a.png";
      if (before !== undefined) Deno.writeTextFileSync(`${folder}/${name}`, before);
      const script = `
        import { writeNew, writeWhole } from "${module}";
        const [folder] = Deno.args;
        const [path, bytes] = [folder + "/a.png", new Uint8Array(1e5)];
        Deno.renameSync = Deno.linkSync = () => {
          console.log("written");
          Deno.stdin.readSync(new Uint8Array(1));
        };
        ${call};`;
      const args = ["eval", script, folder];
      const writer = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped" }).spawn();
      const reader = writer.stdout.getReader();
      await reader.read();
      writer.kill("SIGKILL");
      await writer.status;
      await reader.cancel();
      await writer.stdin.abort().catch(() => {});
      assertEquals(exists(`${folder}/${name}`), before !== undefined);
      if (before !== undefined) assertEquals(Deno.readTextFileSync(`${folder}/${name}`), before);
      assertEquals(names(folder).filter((name) => name.endsWith(".partial")).length, 1);
      checkWritable(`${folder}/other.png`);
      assertEquals(names(folder), ["a.png"]);
    }
  }),
});

Deno.test(
  "leftovers of a dead process are swept, files of a living one and of people are not",
  withFolder(async (folder) => {
    const script = `
      const file = Deno.openSync(Deno.args[0], { createNew: true, write: true });
      file.lockSync(true);
      console.log("locked");
      Deno.stdin.readSync(new Uint8Array(1));`;
    const partial = `${folder}/.picture.png.0.denoise.partial`;
    const writer = new Deno.Command(Deno.execPath(), {
      args: ["eval", script, partial],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    Deno.writeTextFileSync(`${folder}/mine.partial`, "of a person");
    const reader = writer.stdout.getReader();
    await reader.read();
    checkWritable(`${folder}/picture.png`);
    assert(exists(partial));

    writer.kill("SIGKILL");
    await writer.status;
    await reader.cancel();
    await writer.stdin.abort().catch(() => {});
    checkWritable(`${folder}/picture.png`);
    assertEquals(names(folder), ["mine.partial"]);
  }),
);

Deno.test({
  name: "a file that does not fit is not there",
  ignore: Deno.build.os !== "linux",
  fn: withFolder(async (folder) => {
    // A limit of file size stands for a full disk: 8 blocks of 512 or 1024 bytes.
    const module = new URL("../../cli/files.ts", import.meta.url);
    const script = `import { writeWhole } from "${module}"; writeWhole(Deno.args[0], new Uint8Array(1e6));`;
    const { code, stderr } = await new Deno.Command("sh", {
      args: ["-c", 'trap "" XFSZ; ulimit -f 8; exec "$0" eval "$1" "$2"', Deno.execPath(), script, `${folder}/big.png`],
    }).output();
    assertEquals(code, 1);
    assert(new TextDecoder().decode(stderr).includes("Cannot write"));
    assertEquals(names(folder), []);
  }),
});
