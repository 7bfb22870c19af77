import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { PNG } from "pngjs";
import { decodePng, encodePng } from "../../cli/png.ts";
import { Buffer } from "node:buffer";
import { TOKENIZER } from "../tiny_model.ts";
import { tinyCheckpoint } from "../weights/ldm_checkpoint.ts";
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
  "a picture is painted over where a mask is white, and kept elsewhere",
  withFolder(async (folder) => {
    const side = 64;
    const picture = (name: string, red: (x: number) => number) => {
      const pixels = Uint8Array.from({ length: 3 * side * side }, (_, i) => red(Math.floor(i / 3) % side));
      Deno.writeFileSync(`${folder}/${name}`, encodePng({ width: side, height: side, pixels }));
      return pixels;
    };
    const kept = picture("grey.png", () => 140);
    picture("mask.png", (x) => x < side / 2 ? 0 : 255);
    const args = ["a red apple", "--seed", "7", "--steps", "3", "--init-image", "grey.png", "--mask", "mask.png"];
    const { code, stdout, stderr } = await runDenoise([...args, "--json"], { folder });
    assertEquals(code, 0, stderr);
    const { path, width, height, init, timings } = JSON.parse(stdout);
    assertEquals([width, height, init.strength, timings.encode > 0], [side, side, 1, true]);
    const { pixels } = decodePng(Deno.readFileSync(`${folder}/${path}`));
    const distance = (from: number, to: number) => {
      const within = [...pixels.keys()].filter((i) => {
        const x = Math.floor(i / 3) % side;
        return x >= from && x < to;
      });
      return within.reduce((sum, i) => sum + Math.abs(pixels[i]! - kept[i]!), 0) / within.length;
    };
    // The VAE blurs the border.
    assert(distance(0, 24) < 8, `what is kept is off by ${distance(0, 24)}`);
    assert(distance(40, 64) > 24, `what is painted is off by ${distance(40, 64)}`);
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
    assertStringIncludes(model.stderr, "denoise: There is no model, folder or file emojy");
    Deno.writeTextFileSync(`${folder}/model.ckpt`, "pickle");
    const damaged = await runDenoise(["tokens", "cat", "--model", "model.ckpt"], { folder });
    assertEquals([damaged.code, damaged.stdout], [5, ""], damaged.stderr);
    const output = await runDenoise([...SMALL, "--output", "nowhere/cat.png"], { folder, variables: NO_GPU });
    assertEquals([output.code, output.stdout], [8, ""]);
    assertStringIncludes(output.stderr, "there is no folder");
  }),
);

Deno.test(
  "a picture that takes more memory than must suffice is refused with exit code 6",
  withFolder(async (folder) => {
    const { code, stderr } = await runDenoise(
      ["cat", "--memory", "0.1", "--width", "1024", "--height", "1024"],
      { folder },
    );
    assertEquals(code, 6, stderr);
    assertStringIncludes(stderr, "Less GPU memory is taken with --memory, by smaller pictures");
    assertStringIncludes(stderr, "and 0.100 GiB of GPU memory may be used");
    assertEquals([...Deno.readDirSync(folder)], []);
  }),
);

const FAILING = new URL("failing_process.ts", import.meta.url).pathname;

Deno.test(
  "a surprise, too little GPU memory and a GPU that fails have their exit codes, and leave no picture",
  withFolder(async (folder) => {
    for (
      const [stage, error, code, words] of [
        ["step", "Error", 1, "denoise: Unexpected Error: It was asked to fail\n"],
        ["loadPipeline", "GpuMemoryError", 6, "denoise: It was asked to fail\n"],
        ["step", "GpuFailedError", 7, "denoise: It was asked to fail\n"],
      ] as const
    ) {
      for (const more of [[], ["--json"]]) {
        const failed = await runDenoise([stage, error, "cat", "--quiet", ...more], { folder, program: FAILING });
        assertEquals([failed.code, failed.stderr], [code, words]);
        const told = more.length === 0 ? "" : JSON.parse(failed.stdout).error.code;
        assertEquals(told, more.length === 0 ? failed.stdout : code);
      }
    }
    assertEquals([...Deno.readDirSync(folder)], []);
  }),
);

Deno.test(
  "a model that computes no numbers is a GPU that failed: exit code 7 and no picture",
  withFolder(async (folder) => {
    const emoji = new URL("../../weights/emoji", import.meta.url).pathname;
    await new Deno.Command("cp", { args: ["-r", emoji, `${folder}/damaged`] }).output();
    const path = `${folder}/damaged/vae/diffusion_pytorch_model.safetensors`;
    const bytes = Deno.readFileSync(path);
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const { data_offsets: [from, to] } = header["decoder.conv_out.bias"];
    // Not a number, in float16 and float32.
    bytes.fill(0xff, 8 + length + from, 8 + length + to);
    Deno.writeFileSync(path, bytes);
    const { code, stdout, stderr } = await runDenoise([...SMALL, "--model", "damaged", "--quiet"], { folder });
    assertEquals([code, stdout], [7, ""], stderr);
    assertEquals(Array.from(Deno.readDirSync(folder), ({ name }) => name), ["damaged"]);
  }),
);

Deno.test(
  "without a network the first run says which package is missing, and how to get it",
  withFolder(async (folder) => {
    const offline = { variables: { DENO_DIR: folder }, permissions: ["-A", "--cached-only"] };
    for (const more of [[], ["--json"]]) {
      const { code, stdout, stderr } = await runDenoise(["tokens", "a cat", ...more], offline);
      assertEquals(code, 4, stderr);
      const words =
        /^denoise: The npm package [\w@.]+, which this program needs, is not on this machine and cannot be /;
      assert(words.test(stderr) && stderr.includes('run "deno cache main.ts" once'), stderr);
      if (more.length > 0) assertEquals(JSON.parse(stdout).error.name, "PackageNotFoundError");
    }
    assertEquals((await runDenoise(["--help"], offline)).code, 0);
  }),
);

Deno.test(
  "a checkpoint needs a tokenizer, and one of another family is refused",
  withFolder(async (folder) => {
    Deno.writeFileSync(`${folder}/tiny.safetensors`, tinyCheckpoint());
    const given = ["tokens", "a red apple", "--model", "tiny.safetensors"];
    const known = await runDenoise([...given, "--tokenizer", TOKENIZER], { folder });
    assertEquals([known.code, known.stdout.split("\n")[1]], [0, "count: 3 of 75"], known.stderr);
    const none = await runDenoise(given, { folder });
    assertEquals([none.code, none.stdout], [4, ""]);
    assertStringIncludes(none.stderr, "denoise: tiny.safetensors holds no tokenizer");
    assertStringIncludes(none.stderr, "give it CLIP's with --tokenizer DIR");
    const refiner = tinyCheckpoint({
      change: (name, tensor) => [name.replace("cond_stage_model.transformer", "conditioner.embedders.0.model"), tensor],
    });
    Deno.writeFileSync(`${folder}/tiny.safetensors`, refiner);
    const refused = await runDenoise([...given, "--tokenizer", TOKENIZER], { folder });
    assertEquals([refused.code, refused.stdout], [5, ""]);
    assertStringIncludes(refused.stderr, "tiny.safetensors: this is the refiner of Stable Diffusion XL");
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
      child.kill(signal);
      const status = await child.status;
      assertEquals([status.code, status.signal], [code, signal]);
      await Promise.all([reader.cancel(), child.stdout.cancel()]);
      assertEquals([...Deno.readDirSync(folder)], []);
    }
  }),
});
