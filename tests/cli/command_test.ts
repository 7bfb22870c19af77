import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { PNG } from "pngjs";
import { Buffer } from "node:buffer";
import { runDenoise, startDenoise } from "./denoise_process.ts";
import { withFolder } from "./temporary_folder.ts";

/** The least work that makes a picture. */
const SMALL = ["a red apple", "--seed", "7", "--steps", "1", "--width", "64", "--height", "64"];

/** Progress after a few steps, and minutes of work left. */
const ENDLESS = ["--steps", "20", "--width", "128", "--height", "128"];

/** Vulkan alone, and no driver for it. */
const NO_GPU = { DENO_WEBGPU_BACKEND: "vulkan", VK_DRIVER_FILES: "/nonexistent", VK_ICD_FILENAMES: "/nonexistent" };

const PERMISSIONS = ["--no-prompt", "--allow-read", "--allow-write", "--allow-env", "--allow-ffi"];

Deno.test(
  "the embedded model draws: the same command, the same bytes",
  withFolder(async (folder) => {
    const first = await runDenoise(SMALL, { folder });
    assertEquals([first.code, first.stdout], [0, "a-red-apple-7.png\n"], first.stderr);
    assertStringIncludes(first.stderr, "Seed 7\nNo model was named, so the embedded one draws: emoji");
    const file = Deno.readFileSync(`${folder}/a-red-apple-7.png`);
    const { width, height } = PNG.sync.read(Buffer.from(file));
    assertEquals([width, height], [64, 64]);

    const again = await runDenoise([...SMALL.slice(1), "--quiet", "--output", "-"], { folder, stdin: "a red apple\n" });
    assertEquals([again.code, again.stderr], [0, ""]);
    assertEquals(again.bytes, new Uint8Array(file));
    assertEquals([...Deno.readDirSync(folder)].length, 1);
  }),
);

Deno.test(
  "the documented permissions suffice, and each one that lacks is named",
  withFolder(async (folder) => {
    const all = await runDenoise(SMALL, { folder, permissions: PERMISSIONS });
    assertEquals([all.code, all.stdout], [0, "a-red-apple-7.png\n"], all.stderr);
    for (const lacking of PERMISSIONS.slice(1)) {
      const permissions = PERMISSIONS.filter((permission) => permission !== lacking);
      const { code, stdout, stderr } = await runDenoise(SMALL, { folder, permissions });
      const files = ["--allow-read", "--allow-write"].includes(lacking);
      assertEquals([code, stdout], [files ? 8 : 1, ""]);
      assertStringIncludes(stderr, lacking);
      assert(!stderr.includes("    at "), stderr);
    }
    const tokens = await runDenoise(["tokens", "a red apple"], {
      permissions: PERMISSIONS.filter((permission) => permission !== "--allow-write"),
    });
    assertEquals(tokens.stdout.split("\n")[1], "count: 3 of 30");
  }),
);

Deno.test(
  "models, outputs and GPUs that are not there have their exit codes",
  withFolder(async (folder) => {
    const none = await runDenoise(SMALL, { folder, variables: NO_GPU });
    assertEquals([none.code, none.stdout], [3, ""]);
    for (const words of ["mesa-vulkan-drivers libvulkan1", "Fedora", "macOS", "Windows"]) {
      assertStringIncludes(none.stderr, words);
    }
    const model = await runDenoise([...SMALL, "--model", "emojy"], { folder, variables: NO_GPU });
    assertEquals([model.code, model.stdout], [4, ""]);
    assertStringIncludes(model.stderr, "\ndenoise: There is no model, folder or file emojy");
    Deno.writeTextFileSync(`${folder}/model.ckpt`, "pickle");
    const damaged = await runDenoise(["tokens", "cat", "--model", "model.ckpt"], { folder });
    assertEquals([damaged.code, damaged.stdout], [5, ""], damaged.stderr);
    const output = await runDenoise([...SMALL, "--output", "nowhere/cat.png"], { folder, variables: NO_GPU });
    assertEquals([output.code, output.stdout], [8, ""]);
    assertStringIncludes(output.stderr, "there is no folder");
  }),
);

Deno.test({
  name: "a signal ends it with its code and leaves nothing under the picture's name",
  ignore: Deno.build.os === "windows",
  fn: withFolder(async (folder) => {
    // While the model loads, and in the middle of sampling.
    for (const [signal, code, sign] of [["SIGINT", 130, "Seed"], ["SIGTERM", 143, "Step"]] as const) {
      const child = startDenoise([...SMALL.slice(0, 3), ...ENDLESS, "--output", "apple.png"], { folder });
      const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
      for (let told = ""; !told.includes(sign);) told += (await reader.read()).value;
      const killed = performance.now();
      child.kill(signal);
      const status = await child.status;
      assert(performance.now() - killed < 2000);
      assertEquals([status.code, status.signal], [code, signal]);
      await Promise.all([reader.cancel(), child.stdout.cancel()]);
      assertEquals([...Deno.readDirSync(folder)], []);
    }
  }),
});
