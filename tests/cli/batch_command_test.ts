import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { MAIN, runDenoise, startDenoise } from "./denoise_process.ts";
import { inFolder } from "./temporary_folder.ts";

/** The least work that makes a picture. */
const SMALL = ["--steps", "1", "--width", "64", "--height", "64", "--quiet"];

const COLOURS = ["red", "blue", "green", "yellow", "white"];
const LINES = COLOURS.flatMap((colour) => ["apple", "car", "fish", "heart"].map((thing) => `a ${colour} ${thing}`));

/** The bytes of all pictures of a folder, by their names. */
function pictures(folder: string): Record<string, string> {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).filter((name) => name.endsWith(".png"));
  return Object.fromEntries(names.sort().map((name) => [name, Deno.readFileSync(join(folder, name)).toHex()]));
}

async function isGnuParallelHere(): Promise<boolean> {
  try {
    const { stdout } = await new Deno.Command("parallel", { args: ["--version"], stderr: "null" }).output();
    return new TextDecoder().decode(stdout).startsWith("GNU parallel");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

Deno.test("a batch of 20 pictures is one load, and shards, a rerun and --from give the same files", (t) =>
  inFolder((root) => testBatch(t, root)));

async function testBatch(t: Deno.TestContext, root: string): Promise<void> {
  const folders = ["whole", "shards", "killed", "parallel"].map((name) => join(root, name));
  const [whole, shards, killed, parallel] = folders as [string, string, string, string];
  for (const folder of folders) Deno.mkdirSync(folder);
  const file = join(root, "prompts.txt");
  Deno.writeTextFileSync(file, LINES.join("\n"));
  const batch = (...args: readonly string[]) => ["batch", file, ...SMALL, ...args];

  await t.step("one load", async () => {
    const { code, stdout, stderr } = await runDenoise(batch("--json", "--grid", "sheet"), { folder: whole });
    assertEquals(code, 0, stderr);
    const made = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(made.length, 20);
    assertEquals(made.map(({ timings }) => timings.load > 0), [true, ...Array(19).fill(false)]);
    assertEquals(made.map(({ path }) => path), Object.keys(pictures(whole)));
    assertEquals(new Set(Object.values(pictures(whole))).size, 20);
  });

  await t.step("two shards", async () => {
    for (const shard of ["1/2", "2/2"]) {
      const { code, stdout } = await runDenoise(batch("--shard", shard), { folder: shards });
      assertEquals([code, stdout.trimEnd().split("\n").length], [0, 10]);
    }
    assertEquals(pictures(shards), pictures(whole));
  });

  await t.step({
    name: "a rerun after an interruption",
    ignore: Deno.build.os === "windows",
    fn: async () => {
      const child = startDenoise(batch(), { folder: killed });
      const reader = child.stdout.getReader();
      await reader.read();
      child.kill("SIGINT");
      assertEquals((await child.status).code, 130);
      await Promise.all([reader.cancel(), child.stderr.cancel()]);
      const before = Object.keys(pictures(killed)).length;
      assert(before >= 1 && before < 20, `${before} pictures were made`);
      const { code, stdout } = await runDenoise(batch("--skip-existing"), { folder: killed });
      assertEquals([code, stdout.trimEnd().split("\n").length], [0, 20 - before]);
      assertEquals(pictures(killed), pictures(whole));
    },
  });

  await t.step("--from", async () => {
    const [name] = Object.keys(pictures(whole));
    const { code, bytes } = await runDenoise(["--from", name!, "--output", "-", "--quiet"], { folder: whole });
    assertEquals([code, bytes.toHex()], [0, pictures(whole)[name!]]);
  });

  const hasParallel = await isGnuParallelHere();
  await t.step({
    name: hasParallel ? "GNU parallel" : "GNU parallel is not installed here",
    ignore: !hasParallel,
    fn: async () => {
      const command = [Deno.execPath(), "run", "-A", MAIN, ...batch("--shard", "{}/2")];
      const { code, stderr } = await new Deno.Command("parallel", {
        args: ["--will-cite", "--jobs", "2", ...command, ":::", "1", "2"],
        cwd: parallel,
        env: { XDG_RUNTIME_DIR: "/tmp" },
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      assertEquals(pictures(parallel), pictures(whole));
    },
  });
}
