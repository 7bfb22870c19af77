import { assertEquals } from "@std/assert";
import { neededFiles } from "../../../weights/hub/listing.ts";

/** Paths as the public repositories of Stable Diffusion 1.x have them. */
const PATHS = [
  ".gitattributes",
  "README.md",
  "model_index.json",
  "feature_extractor/preprocessor_config.json",
  "safety_checker/config.json",
  "safety_checker/model.safetensors",
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "text_encoder/model.safetensors",
  "text_encoder/pytorch_model.bin",
  "tokenizer/merges.txt",
  "tokenizer/special_tokens_map.json",
  "tokenizer/tokenizer_config.json",
  "tokenizer/vocab.json",
  "unet/config.json",
  "unet/diffusion_pytorch_model.bin",
  "unet/diffusion_pytorch_model.safetensors",
  "v1-5-pruned.safetensors",
  "vae/config.json",
  "vae/diffusion_pytorch_model.safetensors",
];
const HALF = PATHS.filter((path) => path.endsWith("model.safetensors")).map((path) =>
  path.replace(".safetensors", ".fp16.safetensors")
);

Deno.test("configurations, tokenizer and one set of weights are needed, nothing else", () => {
  const { configs, weights, half, missing } = neededFiles(PATHS);
  const others = /^\.git|^README|^feature|^safety|^v1-5|\.bin$/;
  assertEquals([...configs, ...weights].sort(), PATHS.filter((path) => !others.test(path)).sort());
  assertEquals([half, missing], [false, []]);
});

Deno.test("a second text encoder is needed with its tokenizer where there is one", () => {
  const second = PATHS.filter((path) => /^(?:text_encoder|tokenizer)/.test(path)).map((path) =>
    path.replace("/", "_2/")
  );
  const all = neededFiles([...PATHS, ...second]);
  const wanted = second.filter((path) => !path.endsWith(".bin"));
  assertEquals([...all.configs, ...all.weights].filter((path) => path.includes("_2/")).sort(), wanted.sort());
  assertEquals(all.missing, []);
  assertEquals(neededFiles([...PATHS, "text_encoder_2/config.json"]).missing, [
    "tokenizer_2/vocab.json and merges.txt",
    "text_encoder_2/model.safetensors",
  ]);
});

Deno.test("weights in half precision go before others, part by part", () => {
  const all = neededFiles([...PATHS, ...HALF]);
  assertEquals(all.half, true);
  assertEquals(all.weights.map((path) => path.includes(".fp16.")), [true, true, true]);
  const some = neededFiles([...PATHS, HALF.find((path) => path.startsWith("unet"))!]);
  assertEquals(some.weights.map((path) => path.includes(".fp16.")), [false, true, false]);
  const only = neededFiles([...PATHS.filter((path) => !path.endsWith(".safetensors")), ...HALF]);
  assertEquals([only.half, only.missing], [false, []]);
});

const STEM = "unet/diffusion_pytorch_model";
const OTHERS = PATHS.filter((path) => path !== `${STEM}.safetensors`);

Deno.test("shards come with their index, and all or none", () => {
  for (
    const [index, first, second] of [
      ["safetensors.index.json", "-00001-of-00002.safetensors", "-00002-of-00002.safetensors"],
      ["safetensors.index.fp16.json", ".fp16-00001-of-00002.safetensors", ".fp16-00002-of-00002.safetensors"],
      ["safetensors.index.fp16.json", "-00001-of-00002.fp16.safetensors", "-00002-of-00002.fp16.safetensors"],
    ] as const
  ) {
    const paths = [`${STEM}.${index}`, `${STEM}${first}`, `${STEM}${second}`];
    const { weights, missing } = neededFiles([...OTHERS, ...paths]);
    assertEquals(weights.filter((path) => path.startsWith(STEM)), paths);
    assertEquals(missing, []);
    for (const absent of paths) {
      const rest = neededFiles([...OTHERS, ...paths.filter((path) => path !== absent)]);
      assertEquals(rest.missing, [`${STEM}.safetensors`]);
    }
  }
});

Deno.test("what is missing is named", () => {
  assertEquals(neededFiles([]).missing, [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "unet/config.json",
    "vae/config.json",
    "tokenizer/vocab.json and merges.txt",
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
  ]);
  const words = PATHS.filter((path) => !path.startsWith("tokenizer/"));
  assertEquals(neededFiles([...words, "tokenizer/tokenizer.json"]).missing, []);
  assertEquals(neededFiles([...words, "tokenizer/vocab.json"]).missing, ["tokenizer/vocab.json and merges.txt"]);
});
