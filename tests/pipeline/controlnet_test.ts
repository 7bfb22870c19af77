import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { Gpu } from "../../kernels/mod.ts";
import { edges } from "../../pipeline/canny.ts";
import { openControlNet } from "../../pipeline/controlnets.ts";
import {
  complete,
  type Control,
  type Image,
  ModelFileError,
  ModelNotFoundError,
  openModel,
  Pipeline,
  type Request,
  RequestError,
} from "../../pipeline/mod.ts";
import { describeFiles, type Model } from "../../pipeline/model.ts";
import { readControlNetConfig, readUnetConfig } from "../../pipeline/nets/config.ts";
import { readControlNet } from "../../pipeline/nets/controlnet.ts";
import { ShapeRecorder } from "../../pipeline/nets/shapes.ts";
import { type JsonObject, openFormula, sd14Config } from "../../weights/mod.ts";
import { controlNetConfigOfShapes, VERSION_XL } from "../../weights/shape_config.ts";
import { readGolden } from "../golden.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { openTinyFiles, type TinyName } from "../weights/tiny_files.ts";
import { storeTensors } from "../weights/safetensors_bytes.ts";
import { controlFile, controlFolder, originalControlName } from "../weights/controlnet_file.ts";
import { draw } from "./drawn.ts";
import { goldenInit } from "./golden_init.ts";
import { ALLOWED, assertStage, psnr, toPixels } from "./stages.ts";

/** Decibels that a run in float32 must reach. */
const QUALITY = 45;

const { image: PICTURE } = goldenInit({ kind: "img2img", width: 128, height: 128 })!;

const REQUEST: Request = {
  prompt: "a house",
  negativePrompt: "",
  seed: 2n,
  steps: 5,
  guidance: 7.5,
  scheduler: "ddim",
  width: 128,
  height: 128,
  rng: "cpu",
};

/** A tiny model with the ControlNets at these paths. */
function withControls(paths: readonly string[], model: Model = openTinyModel()): Model {
  using stack = new DisposableStack();
  const controlNets = paths.map((path) => stack.use(openControlNet(path, model)));
  const opened = stack.move();
  return { ...model, controlNets, [Symbol.dispose]: () => opened.dispose() };
}

/** Runs `test` with the folder of a tiny ControlNet and with single files of it, in diffusers' naming and the original ones. */
async function withControlFiles(test: (paths: readonly string[]) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.copyFileSync(join(controlFolder(), "config.json"), join(folder, "config.json"));
    const names = [undefined, undefined, originalControlName("control_model."), originalControlName("")];
    const files = ["diffusion_pytorch_model", "diffusers", "original", "bare"].map((name, i) => {
      const path = join(folder, `${name}.safetensors`);
      Deno.writeFileSync(path, controlFile({ ...(names[i] && { rename: names[i] }) }));
      return path;
    });
    await test([folder, ...files.slice(1)]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const GOLDEN = readGolden("fixtures/tiny-controlnet/cases.safetensors");
const MORE = readGolden("fixtures/tiny-controlnet/more.safetensors");

const RUNS: Readonly<Record<string, Omit<Control, "image">>> = {
  full: { strength: 0.7 },
  part: { start: 0.2, end: 0.8 },
};

for (const backend of BACKENDS) {
  // The way that a part of the steps goes is the other's, too.
  const names = backend.name === "texture" ? Object.keys(RUNS) : ["part"];
  Deno.test(`ControlNet, ${names.join(" and ")}: diffusers' pictures, ${backend.name} kernels`, () =>
    withControlFiles(async ([folder]) => {
      await using gpu = await Gpu.open();
      using model = withControls([folder!]);
      const backends = { exact: backend, half: backend };
      await using pipeline = await Pipeline.load(gpu, model, { backends, precision: "f32" });
      for (const name of names) {
        const { pixels, latents } = await draw(pipeline, { ...REQUEST, controls: [{ image: PICTURE, ...RUNS[name] }] });
        for (const [stage, latent] of [["latents.first", latents[0]], ["latents.last", latents.at(-1)]] as const) {
          assertStage(`${name}.${stage}`, latent!, GOLDEN.get(`${name}.${stage}`)!.data, ALLOWED.unet);
        }
        const quality = psnr(pixels, toPixels(GOLDEN.get(`${name}.image`)!));
        assert(quality >= QUALITY, `${name} reaches ${quality} dB`);
      }
    }));
}

const SMALL = { ...REQUEST, seed: 4n, guidance: 5, width: 64, height: 64 };
/** With the model's own scheduler. */
const { scheduler: _, ...OWN } = SMALL;
const SEEN = goldenInit({ kind: "inpaint", width: 64, height: 64 })!;
const INVERSE: Image = { ...SEEN.image, pixels: SEEN.image.pixels.map((value) => 255 - value) };

const BLANK: Image = { ...SEEN.image, pixels: SEEN.image.pixels.map(() => 0) };

/** A run of fixtures/recipe/controlnet_reference.py. */
interface Case {
  readonly name: string;
  readonly model?: TinyName;
  readonly files: readonly Uint8Array<ArrayBuffer>[];
  readonly request: Request;
  /** What the model's scheduler configuration says otherwise. */
  readonly scheduler?: Readonly<Record<string, unknown>>;
}

const CASES: readonly Case[] = [
  {
    name: "two",
    files: [controlFile({ sees: true }), controlFile({ sees: true, prefix: "tiny-controlnet.second" })],
    request: {
      ...SMALL,
      steps: 4,
      controls: [
        { image: SEEN.image, strength: 0.6, end: 0.75 },
        { image: INVERSE, strength: 0.9, start: 0.25 },
      ],
    },
  },
  {
    name: "inpaint",
    model: "tiny-inpaint",
    files: [controlFile({ sees: true, rename: originalControlName("") })],
    request: { ...SMALL, steps: 3, init: SEEN, controls: [{ image: INVERSE, strength: 0.8 }] },
  },
  {
    name: "xl",
    model: "tiny-sdxl",
    files: [
      controlFile({
        sees: true,
        prefix: "tiny-controlnet.xl",
        model: "sdxl",
        rename: originalControlName("control_model."),
      }),
    ],
    request: { ...OWN, steps: 3, controls: [{ image: SEEN.image, strength: 0.5, end: 0.7 }] },
    scheduler: { timestep_spacing: "leading" },
  },
];

/** Runs `test` with files of these bytes. */
async function withFiles(
  bytes: readonly Uint8Array<ArrayBuffer>[],
  test: (paths: readonly string[]) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    const paths = bytes.map((_, i) => join(folder, `${i}.safetensors`));
    paths.forEach((path, i) => Deno.writeFileSync(path, bytes[i]!));
    await test(paths);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

for (const [precision, least] of [["f32", QUALITY], ["f16", 35]] as const) {
  Deno.test(`ControlNets, two, beside an inpainting model and of SDXL: diffusers' pictures in ${precision}`, async () => {
    await using gpu = await Gpu.open();
    // Which weights are float16 does not differ between families.
    for (
      const { name, model: base, files: bytes, request, scheduler } of precision === "f32" ? CASES : CASES.slice(0, 1)
    ) {
      await withFiles(bytes, async (paths) => {
        const files = openTinyFiles(base);
        const config = { ...files.config, scheduler: { ...files.config.scheduler, ...scheduler } };
        using model = withControls(paths, describeFiles({ ...files, config }));
        await using pipeline = await Pipeline.load(gpu, model, { precision });
        const { pixels, latents } = await draw(pipeline, request);
        if (precision === "f32") assertStage(name, latents.at(-1)!, MORE.get(`${name}.latent`)!.data, ALLOWED.unet);
        const want = Uint8Array.from(MORE.get(`${name}.image`)!.data);
        const quality = psnr(pixels, want);
        assert(quality >= least, `${name} reaches ${quality} dB`);
        const controls = request.controls!.map((control) => ({ ...control, image: BLANK }));
        assert(psnr((await draw(pipeline, { ...request, controls })).pixels, want) < 30, `${name} does not see`);
      });
    }
  });
}

Deno.test("a ControlNet's single files are what its folder is", () =>
  withControlFiles(([folder, ...files]) => {
    using model = openTinyModel();
    using whole = openControlNet(folder!, model);
    for (const path of files) {
      using net = openControlNet(path, model);
      assertEquals(net.config, whole.config);
      for (const name of whole.source.tensors.keys()) {
        assertEquals(net.source.read(name), whole.source.read(name), name);
      }
      assertEquals(Object.keys(net.given.hashes()), [path]);
    }
    return Promise.resolve();
  }));

Deno.test("ControlNets come and go between pictures, each of which is what it is alone", () =>
  withFiles([controlFile({ sees: true })], async (paths) => {
    await using gpu = await Gpu.open();
    using model = withControls(paths);
    await using pipeline = await Pipeline.load(gpu, model);
    const request = { ...SMALL, steps: 2 };
    const pixelsOf = async (control?: Omit<Control, "image">) => {
      const controls = control && { controls: [{ image: INVERSE, ...control }] };
      const { pixels } = await draw(pipeline, { ...request, ...controls });
      await gpu.finish();
      return pixels;
    };
    const plain = await pixelsOf();
    const [full, half] = [await pixelsOf({}), await pixelsOf({ strength: 0.5 })];
    for (const changed of [full, half]) assert(psnr(changed, plain) < QUALITY, "a ControlNet changed nothing");
    assert(psnr(full, half) < QUALITY, "strength changed nothing");
    const canny = [100, 200] as const;
    const outlined = await pixelsOf({ canny });
    assert(psnr(outlined, full) < QUALITY, "edges changed nothing");
    const controls = [{ image: edges(INVERSE, canny) }];
    assertEquals((await draw(pipeline, { ...request, controls })).pixels, outlined);
    assertEquals(await pixelsOf({ strength: 1 }), full);
    assertEquals(await pixelsOf({ strength: 0.5 }), half);
    assertEquals(await pixelsOf(), plain);
    const { bytes } = gpu;
    await pixelsOf({});
    assert(gpu.bytes > bytes);
    await pixelsOf();
    assertEquals(gpu.bytes, bytes, "ControlNets keep memory");
    for (const idle of [{ strength: 0 }, { start: 0.6 }, { end: 0.4 }]) {
      const controls = [{ image: INVERSE, ...idle }];
      assertEquals((await draw(pipeline, { ...request, controls })).pixels, plain, JSON.stringify(idle));
    }
    const kernels = async (control?: Omit<Control, "image">) => {
      const controls = control && { controls: [{ image: INVERSE, ...control }] };
      return (await pipeline.stages({ ...request, ...controls })).step.program.kernels.length;
    };
    // The first of two steps.
    assertEquals(await kernels({ start: 0.5 }), await kernels());
    assert(await kernels({ end: 0.5 }) > await kernels());
  }));

Deno.test("a ControlNet of another model is refused with both numbers, and one that is none in words", () =>
  withControlFiles(async ([folder, diffusers, original]) => {
    const refused = (path: string, model: Model, words: string) => {
      using opened = model;
      const error = assertThrows(() => openControlNet(path, opened), ModelFileError, words);
      assert(error.file.startsWith(path), error.file);
    };
    const context = "this is another model's ControlNet: it reads a context of width 32, and the model's UNet 80";
    for (const path of [folder, diffusers, original]) refused(path!, openTinyModel("tiny-sdxl"), context);
    refused(original!, openModel("emoji"), "it reads a context of width 32, and the model's UNet 256");
    const other = openTinyModel();
    const narrow = { ...other.config.unet, block_out_channels: [32, 64, 96, 128] };
    const words = "it has channels in its blocks of 32, 64, 96, 96, and the model's UNet 32, 64, 96, 128";
    refused(original!, { ...other, config: { ...other.config, unet: narrow } }, words);
    refused(original!, openTinyModel("tiny-bk-base"), "it has residual blocks in a block 2, and the model's UNet 1");

    const config = JSON.parse(Deno.readTextFileSync(join(folder!, "config.json")));
    for (
      const [key, value, words] of [
        ["global_pool_conditions", true, "global_pool_conditions is true; supported is false, null"],
        ["controlnet_conditioning_channel_order", "bgr", 'channel_order is "bgr"'],
        ["_class_name", "ControlNetUnionModel", '_class_name is "ControlNetUnionModel"'],
        ["conditioning_embedding_out_channels", [16, 32, 96], "makes pictures smaller by 4, and the model's VAE by 8"],
        ["conditioning_embedding_out_channels", [16, 32, 96, 2 ** 20], "at most"],
        ["conditioning_embedding_out_channels", [16, 32, 96, 128], "3 tensors have other shapes"],
        ["freq_shift", 1, "it has flip_sin_to_cos and freq_shift true, 1, and the model's UNet true, 0"],
      ] as const
    ) {
      Deno.writeTextFileSync(join(folder!, "config.json"), JSON.stringify({ ...config, [key]: value }));
      refused(folder!, openTinyModel(), words);
    }
    const one = { dtype: "F16", shape: [1], bytes: new Uint8Array(2) };
    for (
      const [bytes, words] of [
        [controlFile({ more: { odd: one } }), '1 tensor is unknown: "odd"'],
        [
          controlFile({ rename: (name) => name.endsWith("mid_block.bias") ? undefined : name }),
          "1 tensor is missing: controlnet_mid_block.bias",
        ],
        [
          storeTensors(new Map([["lora_unet_x.alpha", one]])),
          "this is a LoRA, which --lora takes beside a model, not a ControlNet",
        ],
        [storeTensors(new Map([["x", one]])), "the file holds no ControlNet"],
      ] as const
    ) {
      await withFiles([bytes], ([path]) => Promise.resolve(refused(path!, openTinyModel(), words)));
    }
    assertThrows(
      () => openControlNet("/nowhere", other),
      ModelNotFoundError,
      "no folder or file /nowhere with a ControlNet",
    );
    other[Symbol.dispose]();
  }));

Deno.test("at full size ControlNets have as many parameters as diffusers', and their shapes tell the configuration", () => {
  const wide = { cross_attention_dim: 1024, attention_head_dim: [5, 10, 20, 20] };
  const plain = { down_block_types: Array(3).fill("DownBlock2D"), mid_block_type: "UNetMidBlock2D" };
  for (
    const [base, own, parameters] of [
      [sd14Config.unet, {}, 361_279_120],
      [{ ...sd14Config.unet, ...wide }, {}, 364_228_240],
      [VERSION_XL.unet, {}, 1_251_014_160],
      // As controlnet-canny-sdxl-1.0-small is.
      [VERSION_XL.unet, plain, 125_690_640],
      [{ ...VERSION_XL.unet, mid_block_type: null }, { mid_block_type: "UNetMidBlock2DCrossAttn" }, 1_251_014_160],
    ] as const
  ) {
    const model = { unet: readUnetConfig(base), factor: 8 };
    const shapesOf = (json: JsonObject) => {
      const recorder = new ShapeRecorder();
      readControlNet(recorder, readControlNetConfig("", { ...json, _class_name: "ControlNetModel" }, model));
      return recorder.shapes;
    };
    const shapes = shapesOf({ ...base, ...own });
    assertEquals([...shapes.values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b), 0), parameters);
    assertEquals(shapesOf(controlNetConfigOfShapes(openFormula("", shapes).tensors, base)), shapes);
  }
});

Deno.test("a request's ControlNets are checked before anything is drawn", () =>
  withFiles([controlFile()], async ([path]) => {
    using model = withControls([path!]);
    const control = { image: INVERSE };
    for (
      const [controls, words] of [
        [[control, control], "2 control pictures are given for 1 ControlNets"],
        [[{ ...control, strength: NaN }], "a strength must be a number from 0 to 10, not NaN"],
        [[{ ...control, strength: 11 }], "a strength must be a number from 0 to 10, not 11"],
        [[{ ...control, start: 0.5, end: 0.5 }], "the start before the end, not 0.5 and 0.5"],
        [[{ ...control, end: 1.1 }], "not 0 and 1.1"],
        [[{ ...control, canny: [NaN, 1] }], "thresholds of edges must be numbers from 0 to 2040, not NaN and 1"],
        [[{ image: { ...INVERSE, width: 63 } }], "63x64 pixels are not 12288 bytes"],
      ] as const
    ) {
      await assertRejects(() => complete(model, { ...SMALL, controls }), RequestError, words);
    }
    const wide = { ...SMALL, width: 128, steps: 2, controls: [{ ...control, start: 0.6 }] };
    assertEquals((await complete(model, wide)).notices, [
      "The control image of 64x64 is stretched to 128x64",
      "ControlNet 1 takes part in none of 2 steps, from 0.6 to 1 of them",
    ]);
    const many = Array.from({ length: 9 }, () => path!);
    assertThrows(() => openModel("emoji", { controlNets: many }), RangeError, "at most 8");
  }));
