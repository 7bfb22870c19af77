import { assertEquals, assertThrows } from "@std/assert";
import { ModelFileError } from "../../weights/errors.ts";
import { readJson } from "../../weights/files.ts";
import type { JsonObject } from "../../weights/json.ts";
import { openFiles } from "../../weights/mod.ts";
import type { TensorSource } from "../../weights/tensor_source.ts";
import { openVae } from "../../weights/vae.ts";
import { LDM_NAMES, tinyCheckpoint } from "./ldm_checkpoint.ts";
import { type StoredTensor, storeTensors, withFile, withFolder } from "./safetensors_bytes.ts";
import { openTinyFiles, openTinyPart, TOKENIZER } from "./tiny_files.ts";
import { authors, vaeFile } from "./vae_file.ts";

const isDecoders = (name: string) => /^(?:decoder|post_quant_conv)\./.test(name);

const OWN: JsonObject = { scaling_factor: 0.5, norm_num_groups: 16, block_out_channels: [1], sample_size: 64 };

/** Opens a file of these bytes and disposes of it. */
function withVae<T>(bytes: Uint8Array, use: (source: TensorSource, config: JsonObject) => T): void {
  withFile(bytes, (path) => {
    const { source, config } = openVae(path);
    using _ = source;
    use(source, config(OWN));
  });
}

function assertSameTensors(got: TensorSource, want: TensorSource, of: (name: string) => boolean = () => true): void {
  const names = [...want.tensors.keys()].filter(of);
  assertEquals([...got.tensors.keys()].sort(), names.sort());
  for (const name of names) {
    const { dtype, shape } = want.tensors.get(name)!;
    assertEquals([got.tensors.get(name)!.dtype, got.tensors.get(name)!.shape], [dtype, shape], name);
    assertEquals(got.read(name), want.read(name), name);
  }
}

const TRAINING = { dtype: "F64", shape: [1], bytes: new Uint8Array(8) };

/** Ways to write the tiny model's VAE. */
const KL_FILES: Readonly<Record<string, () => Uint8Array>> = {
  "diffusers' names": () => vaeFile("tiny-sd1"),
  "diffusers' older names": () =>
    vaeFile("tiny-sd1", (name) => name.replace(".to_out.0.", ".proj_attn.").replace(".to_q.", ".query.")),
  "the original names": () =>
    vaeFile("tiny-sd1", (name) => LDM_NAMES.vae(name).slice("first_stage_model.".length), {
      "loss.logvar": TRAINING,
      "model_ema.decay": TRAINING,
    }),
  "a checkpoint": () => tinyCheckpoint(),
};

for (const [kind, bytes] of Object.entries(KL_FILES)) {
  Deno.test(`a VAE in one file, in ${kind}: shapes tell its sizes, the model's own the rest`, () => {
    const want = openTinyPart("vae");
    withVae(bytes(), (source, config) => {
      assertSameTensors(source, want);
      const { block_out_channels, layers_per_block, latent_channels, out_channels } = openTinyFiles().config.vae;
      assertEquals(config, { ...OWN, block_out_channels, layers_per_block, latent_channels, out_channels });
    });
  });
}

/** What of a tiny autoencoder's configuration its shapes tell. */
const TAESD = Object.fromEntries(
  [
    "_class_name",
    "latent_channels",
    "encoder_block_out_channels",
    "decoder_block_out_channels",
    "num_encoder_blocks",
    "num_decoder_blocks",
  ].map((key) => [key, openTinyFiles("taesd").config.vae[key]]),
);

Deno.test("a tiny autoencoder in one file, in diffusers' names and its authors'", () => {
  const want = openTinyPart("vae", "taesd");
  withVae(vaeFile("taesd"), (source, config) => {
    assertSameTensors(source, want);
    assertEquals(config, TAESD);
  });
  withVae(vaeFile("taesd", authors("decoder")), (source, config) => {
    assertSameTensors(source, want, isDecoders);
    assertEquals(config, TAESD);
  });
});

Deno.test("a VAE of the usual kind takes the place of a tiny autoencoder with what Stable Diffusion has", () => {
  withFile(vaeFile("tiny-sd1"), (path) => {
    const { source, config } = openVae(path);
    using _ = source;
    const { scaling_factor, block_out_channels } = config({ _class_name: "AutoencoderTiny", scaling_factor: 1 });
    assertEquals([scaling_factor, block_out_channels], [0.18215, openTinyFiles().config.vae.block_out_channels]);
  });
});

/** Writes a folder of these files and runs `use` with its path. */
function withVaeFolder(files: Readonly<Record<string, string | Uint8Array>>, use: (folder: string) => void): void {
  withFolder((parent) => {
    for (const [name, content] of Object.entries(files)) {
      const path = `${parent}/vae/${name}`;
      Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      Deno.writeFileSync(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    }
    use(`${parent}/vae`);
  });
}

const WEIGHTS = "diffusion_pytorch_model.safetensors";

Deno.test("a VAE's folder, and that of a whole model, say themselves what they are", () => {
  const config = JSON.stringify(openTinyFiles("taesd").config.vae);
  const weights = vaeFile("taesd");
  const folders = [
    { "config.json": config, [WEIGHTS]: weights },
    { "config.json": config, [WEIGHTS.replace(".safe", ".fp16.safe")]: weights },
    { "model_index.json": "{}", "vae/config.json": config, [`vae/${WEIGHTS}`]: weights },
  ];
  for (const files of folders) {
    withVaeFolder(files, (folder) => {
      const { source, config, given } = openVae(folder);
      using _ = source;
      assertSameTensors(source, openTinyPart("vae", "taesd"));
      assertEquals(config(OWN), openTinyFiles("taesd").config.vae);
      assertEquals([given.path, Object.keys(given.hashes()).length], [folder, 2]);
    });
  }
});

Deno.test("a given VAE tells the hashes of its files", async () => {
  const bytes = vaeFile("tiny-sd1");
  const want = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())).toHex();
  withFile(bytes, (path) => {
    const { source, given } = openVae(path);
    using _ = source;
    assertEquals(given.hashes(), { [path]: want });
  });
});

Deno.test("a model has the VAE that is given, a checkpoint without one, too", () => {
  withFolder((folder) => {
    const [vae, whole, bare] = ["vae", "whole", "bare"].map((name) => `${folder}/${name}.safetensors`) as [
      string,
      string,
      string,
    ];
    Deno.writeFileSync(vae, vaeFile("taesd"));
    Deno.writeFileSync(whole, tinyCheckpoint());
    const change = (name: string, tensor: StoredTensor) =>
      name.startsWith("first_stage_model.") ? undefined : [name, tensor] as const;
    Deno.writeFileSync(bare, tinyCheckpoint({ change }));
    const want = openTinyPart("vae", "taesd");
    for (const name of ["emoji", whole, bare]) {
      using model = openFiles(name, { vae, ...(name !== "emoji" && { tokenizer: TOKENIZER }) });
      assertSameTensors(model.parts.vae, want);
      assertEquals([model.config.vae, model.givenVae?.path], [TAESD, vae]);
    }
    using own = openFiles(whole, { tokenizer: TOKENIZER });
    assertEquals(own.givenVae, undefined);
    assertThrows(() => openFiles(bare, { tokenizer: TOKENIZER }), ModelFileError, "the file holds no VAE");
  });
});

Deno.test("what holds no VAE is refused in words", () => {
  const refuse = (path: string, kind: "ModelFileError" | "ModelNotFoundError", words: string) => {
    for (const open of [() => openVae(path), () => openFiles("emoji", { vae: path })]) {
      assertEquals(assertThrows(open, Error, words).name, kind);
    }
  };
  refuse("/nowhere/vae", "ModelNotFoundError", "There is no folder or file /nowhere/vae with a VAE");
  withFile(vaeFile("taesd", authors("encoder")), (path) => {
    refuse(path, "ModelFileError", "the file holds no decoder of a VAE");
    for (const [ending, words] of [["ckpt", "AutoencoderKL.from_single_file"], ["png", "a VAE is a folder in"]]) {
      const other = path.replace("safetensors", ending!);
      Deno.copyFileSync(path, other);
      refuse(other, "ModelFileError", words!);
    }
  });
  for (const bytes of [new Uint8Array(), new Uint8Array(9), vaeFile("tiny-sd1").subarray(0, 5000)]) {
    withFile(bytes, (path) => refuse(path, "ModelFileError", path));
  }
  withFile(storeTensors(new Map()), (path) => refuse(path, "ModelFileError", "the file holds no decoder of a VAE"));
  withVaeFolder({ "x": "" }, (folder) => refuse(folder, "ModelNotFoundError", "config.json"));
  withVaeFolder(
    { "config.json": "{}" },
    (folder) => refuse(folder, "ModelNotFoundError", `has no weights: ${WEIGHTS}`),
  );
  withVaeFolder({ "config.json": "{}", "a.bin": "" }, (folder) => {
    refuse(folder, "ModelFileError", "AutoencoderKL.from_pretrained");
  });
  withVaeFolder({ "config.json": "[]", [WEIGHTS]: "" }, (folder) => refuse(folder, "ModelFileError", "not an object"));
});

Deno.test("a VAE's folder is not left by a link", () => {
  withVaeFolder({ "config.json": JSON.stringify(readJsonOfTaesd()), "../secret": vaeFile("taesd") }, (folder) => {
    Deno.symlinkSync(`${folder}/../secret`, `${folder}/${WEIGHTS}`);
    assertThrows(() => openVae(folder), ModelFileError, "this is a link out of the folder");
  });
});

function readJsonOfTaesd(): JsonObject {
  return readJson(new URL("../../fixtures/taesd/vae/config.json", import.meta.url).pathname);
}
