import { assertEquals, assertRejects } from "@std/assert";
import { ModelFileError } from "../../weights/errors.ts";
import { openFormula } from "../../weights/formula.ts";
import { renameTensors } from "../../weights/names.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import { openShards } from "../../weights/shards.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";
import { entry, safetensors } from "./safetensors_bytes.ts";

const BYTES = Uint8Array.from({ length: 40 }, (_, i) => i);

/** A file of tensors `a [4, 2]` and `b [2]`, which is gone afterwards. */
async function withFolder(use: (folder: string, path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "denoise-test-" });
  try {
    const file = safetensors({ a: entry([4, 2], 0, 32), b: entry([2], 32, 40) }, BYTES.length);
    file.set(BYTES, file.length - BYTES.length);
    Deno.writeFileSync(`${folder}/one.safetensors`, file);
    await use(folder, `${folder}/one.safetensors`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Whole tensors and parts of them are the same either way, and so are the errors. */
async function assertReads(source: TensorSource): Promise<void> {
  for (const [name, { bytes }] of source.tensors) {
    const whole = source.read(name);
    assertEquals(await source.readAsync(name), whole, name);
    const into = new Uint8Array(bytes - 4);
    assertEquals(await source.readAsync(name, { begin: 4, into }), whole.subarray(4), name);
    assertEquals(into, whole.subarray(4));
    const most = new Uint8Array(bytes);
    await assertRejects(() => source.readAsync(name, { begin: 4, into: most }), RangeError, "are to be read");
  }
  await assertRejects(() => source.readAsync("none"), ModelFileError, 'there is no tensor "none"');
}

Deno.test("reading while the program goes on: a file, its shards, and other names for parts of its tensors", () =>
  withFolder(async (folder, path) => {
    using file = openSafetensors(path);
    await assertReads(file);
    assertEquals(await file.readAsync("b"), BYTES.subarray(32));
    await assertReads(renameTensors(file, (name) => name === "a" ? ["upper", "lower"] : name));
    await assertReads(renameTensors(file, (name) => name === "a" ? { name: "whole", index: 0, of: 1 } : undefined));
    const index = `${folder}/index.json`;
    Deno.writeTextFileSync(index, JSON.stringify({ weight_map: { a: "one.safetensors", b: "one.safetensors" } }));
    using shards = openShards(index);
    await assertReads(shards);
  }));

Deno.test("reading while the program goes on: computed weights", async () => {
  using source = openFormula("part", new Map([["a.weight", [5, 2]], ["a.bias", [6]]]), "F32");
  await assertReads(source);
});

Deno.test("what is read at once comes from its own places, and from the file whose header was read", () =>
  withFolder(async (folder, path) => {
    using source = openSafetensors(path);
    const parts = Array.from({ length: 16 }, (_, i) => ({ begin: 2 * i, into: new Uint8Array(2) }));
    await Promise.all(parts.map((part) => source.readAsync("a", part)));
    for (const { begin, into } of parts) assertEquals(into, BYTES.slice(begin, begin + 2));
    using other = openSafetensors(path);
    Deno.copyFileSync(path, `${folder}/two.safetensors`);
    Deno.renameSync(`${folder}/two.safetensors`, path);
    await assertRejects(() => other.readAsync("b"), ModelFileError, "another file was put in its place");
    // The handles that are open go on with the file that they have.
    assertEquals(await source.readAsync("b"), BYTES.subarray(32));
  }));

Deno.test("reading while the program goes on notices a file that shrinks", () =>
  withFolder(async (_, path) => {
    using source = openSafetensors(path);
    Deno.truncateSync(path, Deno.statSync(path).size - 3);
    assertEquals(await source.readAsync("a"), BYTES.subarray(0, 32));
    const words = "the file became shorter while it was read, by this many bytes or more: 3";
    await assertRejects(() => source.readAsync("b"), ModelFileError, words);
  }));
