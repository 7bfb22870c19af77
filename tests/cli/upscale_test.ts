import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { deflateSync } from "node:zlib";
import { join } from "@std/path";
import { decodePng, encodePng, type PngText, readTexts } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import { upscalerFile } from "../weights/upscaler_file.ts";
import { assertRefused, fakeEnvironment, type FakeWorld } from "./fake_environment.ts";
import { header, pngBytes, pngOf } from "./png_bytes.ts";
import { withFolder } from "./temporary_folder.ts";

async function runFake(folder: string, args: readonly string[], world: FakeWorld = {}) {
  const environment = fakeEnvironment({ folder, ...world });
  const code = await run(args, environment);
  return { code, stages: environment.stages, ...environment.written };
}

const upscale = (folder: string, ...args: readonly string[]) =>
  runFake(folder, ["upscale", "--model", "x4.st", ...args]);

const TEXTS: readonly PngText[] = [
  { keyword: "parameters", text: "a cat\nSteps: 3, Sampler: Euler, Seed: 7" },
  { keyword: "workflow", text: '{"nodes": []}' },
  { keyword: "Comment", text: "Katze, 猫" },
];

/** A picture of which every pixel has a colour of its own. */
function picture(width: number, height: number, texts: readonly PngText[] = []): Uint8Array {
  return encodePng({ width, height, pixels: Uint8Array.from({ length: 3 * width * height }, (_, i) => i * 7) }, texts);
}

const withPictures = (test: (folder: string) => Promise<void>) =>
  withFolder(async (folder) => {
    Deno.writeFileSync(join(folder, "x4.st"), upscalerFile("x4"));
    Deno.writeFileSync(join(folder, "x2.st"), upscalerFile("x2"));
    Deno.writeFileSync(join(folder, "Cat_1.png"), picture(5, 3, TEXTS));
    Deno.writeFileSync(join(folder, "dog.png"), picture(2, 2));
    await test(folder);
  });

const read = (folder: string, name: string) => Deno.readFileSync(join(folder, name));

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

Deno.test(
  "pictures are enlarged under names of their own, and keep what they say",
  withPictures(async (folder) => {
    const { code, stdout, stderr, stages } = await upscale(folder, "Cat_1.png", "dog.png");
    assertEquals([code, stdout], [0, "Cat_1-x4.png\ndog-x4.png\n"], stderr);
    assertEquals(stages.filter((stage) => stage === "openGpu" || stage === "loadPipeline"), [
      "openGpu",
      "loadPipeline",
    ]);
    assertStringIncludes(stderr, "Picture 1 of 2: Cat_1.png\n5x3 became 20x12 in ");
    const png = read(folder, "Cat_1-x4.png");
    const { width, height, pixels } = decodePng(png);
    assertEquals([width, height, [...pixels.subarray(9, 15)]], [20, 12, [0, 7, 14, 21, 28, 35]]);
    const done = "Postprocess upscale by: 4, Postprocess upscaler: x4.st, " +
      `Upscaler SHA-256: ${sha256(read(folder, "x4.st"))}, Source SHA-256: ${sha256(read(folder, "Cat_1.png"))}, ` +
      "Adapter: Fake, WebGPU: Deno 2.9.6, Version: denoise 0.1.0";
    assertEquals(readTexts(png), [...TEXTS, { keyword: "postprocessing", text: done }]);

    const shown = await runFake(folder, ["show", "Cat_1-x4.png"]);
    assertStringIncludes(shown.stdout, "prompt: a cat\n");
    assertStringIncludes(shown.stdout, `\nafterwards: ${done}\n`);
    const photo = await runFake(folder, ["show", "dog-x4.png", "--json"]);
    const { picture, postprocessing } = JSON.parse(photo.stdout);
    assertEquals([photo.code, picture, postprocessing.slice(0, 26)], [0, {}, "Postprocess upscale by: 4,"]);
    const undrawn = await runFake(folder, ["--from", "dog-x4.png"]);
    assertEquals(undrawn.code, 2);
    assertStringIncludes(undrawn.stderr, "dog-x4.png does not say how it was made");
    const again = await runFake(folder, ["--from", "Cat_1-x4.png", "--output", "again.png"]);
    assertEquals(again.code, 0, again.stderr);
    assertStringIncludes(again.stderr, `Not done to it again: ${done}\n`);

    await upscale(folder, "Cat_1-x4.png", "--output", "larger.png");
    const [, , , { text }] = readTexts(read(folder, "larger.png")) as [PngText, PngText, PngText, PngText];
    assertEquals(text.split("\n").map((line) => line.slice(0, 25)), Array(2).fill("Postprocess upscale by: 4"));
    await upscale(folder, "Cat_1.png", "--output", "bare.png", "--no-metadata");
    assertEquals(readTexts(read(folder, "bare.png")), []);
  }),
);

Deno.test(
  "any PNG is enlarged, what is transparent as white",
  withPictures(async (folder) => {
    const half = pngBytes({ width: 1, height: 1, depth: 16, colourType: 6, pixel: () => [0, 0, 0, 0] });
    Deno.writeFileSync(join(folder, "clear.png"), half);
    assertEquals((await runFake(folder, ["upscale", "clear.png", "--model=x2.st"])).stdout, "clear-x2.png\n");
    assertEquals(decodePng(read(folder, "clear-x2.png")), {
      width: 2,
      height: 2,
      pixels: new Uint8Array(12).fill(255),
    });
  }),
);

Deno.test(
  "names of enlarged pictures follow the rules of all names",
  withPictures(async (folder) => {
    assertEquals((await upscale(folder, "dog.png")).stdout, "dog-x4.png\n");
    assertEquals((await upscale(folder, "dog.png")).stdout, "dog-x4-2.png\n");
    const skipped = await upscale(folder, "dog.png", "Cat_1.png", "--skip-existing");
    assertEquals([skipped.stdout, skipped.stderr.split("\n")[0]], ["Cat_1-x4.png\n", "dog-x4.png is there already"]);
    const none = await upscale(folder, "dog.png", "Cat_1.png", "--skip-existing", "--json");
    assertEquals([none.code, none.stages.includes("openGpu")], [0, false]);
    assertEquals(none.stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line).status), [
      "skipped",
      "skipped",
    ]);
    const named = await upscale(folder, "dog.png", "Cat_1.png", "-o", "{index}-{slug}.png");
    assertEquals(named.stdout, "0001-dog.png\n0002-cat-1.png\n");
    const kept = await upscale(folder, "dog.png", "-o", "dog-x4.png", "--no-clobber");
    assertEquals([kept.code, kept.stages.includes("openGpu")], [2, false]);
    assertStringIncludes(kept.stderr, "dog-x4.png: it is there already, and --no-clobber keeps it");
    const { stdout } = await upscale(folder, "dog.png", "-o", "-", "--no-metadata", "--quiet");
    assertEquals(stdout.slice(1, 4), "PNG");
    const report = JSON.parse((await upscale(folder, "dog.png", "-o", "json.png", "--json")).stdout);
    const { status, path, width, height, source, model, sha256: hash } = report;
    assertEquals([status, path, width, height, model.scale], ["ok", "json.png", 8, 8, 4]);
    assertEquals([hash, source.sha256], [sha256(read(folder, "json.png")), sha256(read(folder, "dog.png"))]);
  }),
);

Deno.test(
  "what cannot be enlarged is refused in words, before a GPU is opened",
  withPictures(async (folder) => {
    Deno.mkdirSync(join(folder, "more"));
    Deno.copyFileSync(join(folder, "dog.png"), join(folder, "more", "dog.png"));
    Deno.symlinkSync(join(folder, "dog.png"), join(folder, "link.png"));
    Deno.writeFileSync(join(folder, "photo.jpg"), new Uint8Array([0xff, 0xd8, 0xff, 0xe0]));
    Deno.writeFileSync(join(folder, "cut.png"), read(folder, "dog.png").subarray(0, 60));
    const rows = deflateSync(new Uint8Array(65 * (1 + 65536 / 8)));
    const wide = pngOf(header(65536, 65, [1, 0, 0, 0, 0]), ["IDAT", rows], ["IEND", []]);
    Deno.writeFileSync(join(folder, "wide.png"), wide);
    Deno.writeFileSync(join(folder, "net.pth"), new Uint8Array(9));
    Deno.writeFileSync(join(folder, "bad.safetensors"), new Uint8Array(9));
    for (
      const [args, code, message] of [
        [[], 2, "Which picture? denoise upscale FILE --model FILE"],
        [["none.png"], 2, "Cannot read none.png: there is no such file"],
        [["dog.png", "photo.jpg"], 2, "Cannot read photo.jpg: it is a JPEG; only PNG is read"],
        [["cut.png"], 2, "Cannot read cut.png: it is a damaged PNG"],
        [["more"], 2, "Cannot read more: it is a folder"],
        [["wide.png"], 2, "wide.png cannot be enlarged: 65536x65 pixels would become 262144x260; at most 67108864"],
        [["dog.png", "-o", "dog.png"], 2, "dog.png and Picture 1 are the same file, dog.png: name another"],
        [["dog.png", "-o", "link.png"], 2, "dog.png and Picture 1 are the same file"],
        [["dog.png", "more/dog.png"], 2, "Picture 1 and Picture 2 would both go to dog-x4.png"],
        [["dog.png", "-o", "{seed}.png"], 2, "--output cannot fill in {seed}: it knows {index} and {slug}"],
        [["dog.png", "-o", "-", "--json"], 2, "both use standard output"],
        [["dog.png", "Cat_1.png", "-o", "-"], 2, "--output - takes one picture, and there are 2"],
        [["dog.png", "-o", "none/x.png"], 8, "none/x.png: there is no folder"],
        [["dog.png", "--steps", "4"], 2, "--steps is not an option of denoise upscale"],
      ] as const
    ) {
      const told = await upscale(folder, ...args);
      assertRefused(told, code, message, `${args}`);
    }
    for (
      const [model, code, message] of [
        [[], 2, "--model says with which upscaler"],
        [["--model", "none.safetensors"], 4, "There is no file"],
        [["--model", "net.pth"], 5, "a Python pickle can run any program when it is opened, so it is not read"],
        [["--model", "bad.safetensors"], 5, "bad.safetensors: "],
        [["--model", "dog.png"], 5, "dog.png: "],
      ] as const
    ) {
      const told = await runFake(folder, ["upscale", "dog.png", ...model]);
      assertRefused(told, code, message, `${model}`);
    }
    assertEquals([...Deno.readDirSync(folder)].filter(({ name }) => /-x4|partial/.test(name)), []);
  }),
);

Deno.test(
  "a picture that cannot be enlarged ends the run with its code, those before it are there",
  withPictures(async (folder) => {
    let steps = 0;
    const before = (stage: string) => {
      if (stage === "step" && ++steps === 2) throw Object.assign(new Error("too much"), { name: "GpuMemoryError" });
    };
    const args = ["upscale", "Cat_1.png", "dog.png", "--model", "x4.st"];
    const { code, stdout, stderr } = await runFake(folder, args, { before });
    assertEquals([code, stdout], [6, "Cat_1-x4.png\n"]);
    assertStringIncludes(stderr, "denoise: too much\n");
  }),
);

Deno.test(
  "texts that no PNG may have, or that steer a terminal, are not carried on",
  withPictures(async (folder) => {
    const texts = [{ keyword: "", text: "x" }, { keyword: " a", text: "y" }, { keyword: "Title", text: "\x1b[2J" }];
    Deno.writeFileSync(join(folder, "odd.png"), picture(1, 1, texts));
    assertEquals((await upscale(folder, "odd.png")).code, 0);
    const kept = readTexts(read(folder, "odd-x4.png"));
    assertEquals(kept.map(({ keyword }) => keyword), ["Title", "postprocessing"]);
    const shown = await runFake(folder, ["show", "odd-x4.png"]);
    assert(!shown.stdout.includes("\x1b"));
  }),
);
