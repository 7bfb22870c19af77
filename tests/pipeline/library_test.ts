import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";

const PROJECT = join(import.meta.dirname!, "../..");

async function deno(args: readonly string[], folder: string): Promise<string> {
  const env = { XDG_RUNTIME_DIR: "/tmp", NO_COLOR: "1" };
  const command = new Deno.Command(Deno.execPath(), { args: [...args], cwd: folder, env });
  const { success, stdout, stderr } = await command.output();
  const [out, error] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  assert(success, `${out}${error}`);
  return out!;
}

Deno.test("the example in the library's documentation runs", async () => {
  const told = await deno(["test", "-A", "--doc", join("pipeline", "mod.ts")], PROJECT);
  assert(/\b1 passed/.test(told), told);
});

Deno.test("the library works from another folder, as its documentation says", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "denoise-test-" });
  try {
    const library = JSON.stringify(new URL("../../pipeline/mod.ts", import.meta.url).href);
    const script = `import { listEmbedded, schedulerNames } from ${library};
Deno.stdout.writeSync(new TextEncoder().encode(listEmbedded().join() + " " + schedulerNames().length));`;
    Deno.writeTextFileSync(join(folder, "mine.ts"), script);
    const told = await deno(["run", "-A", "--config", join(PROJECT, "deno.json"), "mine.ts"], folder);
    assertEquals(told, "emoji 18");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
