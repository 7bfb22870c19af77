import { assert, assertEquals, assertThrows } from "@std/assert";
import { OutputError } from "../../cli/errors.ts";
import { checkWritable, exists, writeWhole } from "../../cli/files.ts";
import { withFolder } from "./temporary_folder.ts";

const bytes = new Uint8Array([1, 2, 3]);

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
  "what cannot be written is refused, in words, before and after the work",
  withFolder((folder) => {
    Deno.mkdirSync(`${folder}/a-folder`);
    Deno.writeTextFileSync(`${folder}/a-file`, "kept");
    const refused = [
      [`${folder}/nowhere/picture.png`, `there is no folder ${folder}/nowhere`],
      [`${folder}/a-file/picture.png`, "Cannot write"],
      [`${folder}/${"x".repeat(300)}.png`, "Cannot write"],
    ] as const;
    for (const [path, words] of refused) {
      assertThrows(() => checkWritable(path), OutputError, words);
      assertThrows(() => writeWhole(path, bytes), OutputError, words);
    }
    assertThrows(() => checkWritable(`${folder}/a-folder`), OutputError, "it is not a file");
    assertThrows(() => writeWhole(`${folder}/a-folder`, bytes), OutputError, "Cannot write");
    assertEquals(names(folder), ["a-file", "a-folder"]);
    assertEquals(Deno.readTextFileSync(`${folder}/a-file`), "kept");
  }),
);

Deno.test({
  name: "a device is never replaced, and a read-only folder is refused",
  // /proc refuses new files even from root.
  ignore: Deno.build.os !== "linux",
  fn: () => {
    assertThrows(() => checkWritable("/dev/null"), OutputError, "it is not a file");
    assertThrows(() => checkWritable("/proc/picture.png"), OutputError, "Cannot write /proc/picture.png");
  },
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
