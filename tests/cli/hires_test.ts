import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "@std/path";
import { decodePng, encodePng } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import type { CompleteRequest } from "../../pipeline/mod.ts";
import { upscalerFile } from "../weights/upscaler_file.ts";
import { assertRefused, fakeEnvironment } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

async function runFake(folder: string, args: readonly string[], stdin?: string) {
  const requests: CompleteRequest[] = [];
  const onRequest = (request: CompleteRequest) => requests.push(request);
  const environment = fakeEnvironment({ folder, onRequest, ...(stdin !== undefined && { stdin }) });
  const code = await run(args, environment);
  const passes = requests.map(({ hires, second }) =>
    hires && [
      hires.scale,
      hires.strength,
      hires.steps,
      typeof hires.upscaler === "string" ? hires.upscaler : hires.upscaler.name,
      `${second!.width}x${second!.height}`,
    ]
  );
  return { code, passes, stages: environment.stages, ...environment.written };
}

const withUpscaler = (test: (folder: string) => Promise<void>) =>
  withFolder(async (folder) => {
    Deno.writeFileSync(join(folder, "x4.safetensors"), upscalerFile("x4"));
    const grey = encodePng({ width: 64, height: 64, pixels: new Uint8Array(3 * 64 * 64).fill(99) });
    Deno.writeFileSync(join(folder, "dog.png"), grey);
    await test(folder);
  });

Deno.test(
  "a second pass has the web UI's defaults, and options of its own",
  withUpscaler(async (folder) => {
    // The model draws 64x72 in 10 steps.
    for (
      const [args, pass] of [
        [[], undefined],
        [["--hires", "2"], [2, 0.7, 10, "latent", "128x144"]],
        [["--hires", "1.5", "--steps", "20"], [1.5, 0.7, 20, "latent", "96x104"]],
        [["--hires=1.2", "--hires-steps=5", "--hires-strength=.4", "--hires-upscaler=lanczos"], [
          1.2,
          0.4,
          5,
          "lanczos",
          "72x80",
        ]],
        [["--hires", "2", "--hires-upscaler", "./x4.safetensors"], [2, 0.7, 10, "./x4.safetensors", "128x144"]],
      ] as const
    ) {
      const { code, passes, stderr } = await runFake(folder, ["a cat", ...args]);
      assertEquals([code, passes], [0, [pass]], stderr);
    }
    const lines = ['{"prompt": "a", "hires": 2}', '{"prompt": "b", "hires-upscaler": "lanczos"}'].join("\n");
    const batch = await runFake(folder, ["batch", "-", "--hires", "3"], lines);
    assertEquals(batch.passes, [[2, 0.7, 10, "latent", "128x144"], [3, 0.7, 10, "lanczos", "192x216"]], batch.stderr);
  }),
);

Deno.test(
  "a second pass that cannot be is refused in words, before a GPU is opened",
  withUpscaler(async (folder) => {
    for (
      const [args, code, message] of [
        [["--hires", "9"], 2, '--hires must be a number from 1 to 8, got "9"'],
        [["--hires", "0.5"], 2, "--hires must be a number from 1 to 8"],
        [["--hires", "2", "--hires-strength", "0"], 2, "--hires-strength must be a number above 0, up to 1"],
        [["--hires", "2", "--hires-steps", "1"], 2, "--hires 2: strength 0.7 runs no step of 1; use at least 1"],
        [["--hires", "8", "--width", "1024"], 2, "--hires 8: the picture would have 8192x576 pixels"],
        [["--hires-strength", "0.5"], 2, "--hires-strength requires --hires"],
        [["--hires-steps", "5"], 2, "--hires-steps requires --hires"],
        [["--hires-upscaler", "lanczos"], 2, "--hires-upscaler requires --hires"],
        [["--hires", "2", "--init-image", "dog.png"], 2, "--hires draws over a picture of its own"],
        [["--hires", "2", "--hires-upscaler", "none.safetensors"], 4, "There is no file"],
        [["--hires", "2", "--hires-upscaler", "dog.png"], 5, "dog.png: "],
        [["--hires", "2", "--hires-upscaler", "x4.safetensors", "-o", "x4.safetensors"], 2, "are the same file"],
      ] as const
    ) {
      const told = await runFake(folder, ["a cat", ...args]);
      assertRefused(told, code, message, `${args}`);
    }
  }),
);

Deno.test(
  "a picture keeps its second pass, show says it, and --from makes the same file again",
  withUpscaler(async (folder) => {
    const pass = ["--hires", "2", "--hires-steps", "8", "--hires-upscaler", "x4.safetensors"];
    const made = await runFake(folder, ["a cat", ...pass, "--seed", "1", "--output", "cat.png", "--json"]);
    const sha256 = createHash("sha256").update(Deno.readFileSync(join(folder, "x4.safetensors"))).digest("hex");
    const { hires, second } = JSON.parse(made.stdout);
    const upscaler = { name: "x4.safetensors", sha256, scale: 4 };
    const told = { scale: 2, strength: 0.7, steps: 8, upscaler, width: 128, height: 144 };
    assertEquals([hires, second], [told, undefined]);
    const shown = await runFake(folder, ["show", "cat.png", "--json"]);
    const { picture, files, parameters } = JSON.parse(shown.stdout);
    const kept = ["hires", "hires-strength", "hires-steps", "hires-upscaler"].map((name) => picture[name]);
    assertEquals(kept, [2, 0.7, 8, "x4.safetensors"]);
    assertEquals(files, { "x4.safetensors": sha256 });
    assertStringIncludes(parameters, "Denoising strength: 0.7, ");
    assertStringIncludes(parameters, "Hires upscale: 2, Hires steps: 5, Hires upscaler: x4, ");

    const again = ["--from", "cat.png", "--output", "again.png"];
    const untrusted = await runFake(folder, again);
    assertEquals(untrusted.code, 2);
    assertStringIncludes(untrusted.stderr, "cat.png was made with --hires-upscaler x4.safetensors: add this");
    assertEquals((await runFake(folder, [...again, "--trust-paths"])).code, 0);
    assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));
    Deno.writeFileSync(join(folder, "x4.safetensors"), upscalerFile("x2"));
    const other = await runFake(folder, [...again, "--trust-paths"]);
    assertEquals([other.code, other.stages.includes("openGpu")], [2, false]);
    assertStringIncludes(other.stderr, "x4.safetensors is another file than the one that cat.png was made with");

    for (const upscaler of ["latent", "lanczos"]) {
      const words = ["--hires", "2", "--hires-upscaler", upscaler, "--seed", "1", "--output", "words.png"];
      assertEquals((await runFake(folder, ["a cat", ...words])).code, 0);
      const { passes } = await runFake(folder, ["--from", "words.png", "--output", "again.png"]);
      assertEquals(passes, [[2, 0.7, 10, upscaler, "128x144"]]);
      assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "words.png")));
    }
  }),
);

Deno.test(
  "previews and contact sheets are as large as the picture after its second pass",
  withUpscaler(async (folder) => {
    const args = ["a cat", "--hires", "2", "--preview", "p.png", "--grid", "g.png", "--count", "2"];
    assertEquals((await runFake(folder, args)).code, 0);
    const { width, height } = decodePng(Deno.readFileSync(join(folder, "p.png")));
    assertEquals([width, height], [128, 144]);
    const sheet = decodePng(Deno.readFileSync(join(folder, "g.png")));
    assert(sheet.width >= 2 * 128, `${sheet.width}`);
  }),
);

Deno.test(
  "an upscaler of the picture in the end is kept, too, and --from makes the same file again",
  withUpscaler(async (folder) => {
    const args = ["a cat", "--upscale-model", "x4.safetensors", "--hires", "1.5", "--seed", "1", "--output", "cat.png"];
    const { code, stdout, stderr } = await runFake(folder, [...args, "--grid", "grid.png", "--json"]);
    assertEquals(code, 0, stderr);
    assertEquals(JSON.parse(stdout).upscaler.scale, 4);
    const { width, height } = decodePng(Deno.readFileSync(join(folder, "cat.png")));
    assertEquals([width, height], [4 * 96, 4 * 104]);
    assert(decodePng(Deno.readFileSync(join(folder, "grid.png"))).width >= width);
    const { picture, files, parameters } = JSON.parse((await runFake(folder, ["show", "cat.png", "--json"])).stdout);
    assertEquals([picture["upscale-model"], Object.keys(files)], ["x4.safetensors", ["x4.safetensors"]]);
    assertStringIncludes(parameters, "Postprocess upscale by: 4, Postprocess upscaler: x4, ");
    const again = ["--from", "cat.png", "--output", "again.png"];
    const untrusted = await runFake(folder, again);
    assertEquals(untrusted.code, 2);
    assertStringIncludes(untrusted.stderr, "cat.png was made with --upscale-model x4.safetensors: add this");
    assertEquals((await runFake(folder, [...again, "--trust-paths"])).code, 0);
    assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));
    Deno.writeFileSync(join(folder, "x4.safetensors"), upscalerFile("x2"));
    const other = await runFake(folder, [...again, "--trust-paths"]);
    assertStringIncludes(other.stderr, "x4.safetensors is another file than the one that cat.png was made with");
    Deno.writeFileSync(join(folder, "x4.safetensors"), upscalerFile("x4"));
    for (
      const [args, code, message] of [
        [["--upscale-model", "none.safetensors"], 4, "There is no file"],
        [["--upscale-model", "dog.png"], 5, "dog.png: "],
        [
          ["--upscale-model", "x4.safetensors", "--width", "2048", "--height", "2056"],
          2,
          "--upscale-model x4.safetensors: 2048x2056 pixels would become 8192x8224",
        ],
        [
          ["--upscale-model", "x4.safetensors", "-o", "x4.safetensors"],
          2,
          "--upscale-model and Picture 1 are the same",
        ],
      ] as const
    ) {
      const told = await runFake(folder, ["a cat", ...args]);
      assertEquals([told.code, told.stages.includes("openGpu")], [code, false], told.stderr);
      assertStringIncludes(told.stderr, message);
    }
  }),
);
