import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { basename, dirname } from "@std/path";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import { LIMITS, listEmbedded, openFiles } from "../../weights/mod.ts";
import { openSafetensors } from "../../weights/safetensors.ts";
import { tinyCheckpoint } from "./ldm_checkpoint.ts";
import { entry, safetensors, withFile, withFolder } from "./safetensors_bytes.ts";
import { TOKENIZER } from "./tiny_files.ts";

Deno.test("the embedded models are listed and open by name, with their own settings", () => {
  assert(listEmbedded().includes("emoji"));
  using model = openFiles("emoji");
  assertEquals(model.name, "emoji");
  const { knows, latentToRgb, ...settings } = model.settings;
  assertEquals(settings, { steps: 10, guidance: 1.5, longPrompt: "truncate", width: 256, height: 256 });
  assertStringIncludes(knows!, "Emoji only");
  assertEquals(latentToRgb!.map((row) => row.length), [3, 3, 3, 3, 3]);
  assertEquals(model.config.text_encoder.hidden_size, 256);
  assertEquals(model.config.scheduler._class_name, "DPMSolverMultistepScheduler");
  assertEquals(model.tokenizer.config.model_max_length, 32);
  assertEquals(model.tokenizer.specialTokens.pad_token, "<|endoftext|>");
  assert(model.tokenizer.json && model.tokenizer.vocab && model.tokenizer.merges);
});

Deno.test("the embedded model's tensors are all readable under canonical names", () => {
  using model = openFiles("emoji");
  const parameters = Object.values(model.parts).map((part) => {
    let elements = 0;
    for (const [name, { bytes }] of part.tensors) {
      assertEquals(part.read(name).length, bytes);
      elements += bytes / 2;
    }
    return elements;
  });
  assertEquals(parameters.map((count) => (count / 1e6).toFixed(2)), ["4.74", "15.76", "2.78"]);
  assertEquals(model.parts.text_encoder.tensors.get("embeddings.token_embedding.weight")!.shape, [6144, 256]);
  assertEquals(model.parts.vae.tensors.get("decoder.mid_block.attentions.0.to_out.0.weight")!.shape, [128, 128]);
});

/** The smallest folder that opens: three parts with one tensor of four bytes each. */
const FOLDER: Readonly<Record<string, string | Uint8Array>> = {
  "model_index.json": "{}",
  "text_encoder/config.json": "{}",
  "text_encoder/model.safetensors": part("text_model.final_layer_norm.bias"),
  "unet/config.json": '{"sample_size": 64}',
  "unet/diffusion_pytorch_model.safetensors": part("conv_in.bias"),
  "vae/config.json": '{"block_out_channels": [1, 2, 2, 2]}',
  "vae/diffusion_pytorch_model.safetensors": part("decoder.mid_block.attentions.0.query.bias"),
  "scheduler/scheduler_config.json": '{"lambda_min_clipped": -Infinity, "nan": NaN, "name": "Infinity"}',
  "tokenizer/vocab.json": "{}",
  "tokenizer/merges.txt": "#version: 0.2",
};

function part(name: string): Uint8Array {
  return safetensors({ [name]: entry([1], 0, 4) }, 4);
}

/** Writes {@link FOLDER} with changes: a path set to undefined is left out. */
function withModel(changes: Record<string, string | Uint8Array | undefined>, use: (folder: string) => void): void {
  withFolder((parent) => {
    const folder = `${parent}/my-model`;
    for (const [name, content] of Object.entries({ ...FOLDER, ...changes })) {
      if (content === undefined) continue;
      const path = `${folder}/${name}`;
      Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      Deno.writeFileSync(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    }
    use(folder);
  });
}

Deno.test("a folder opens by its path, in today's names", () => {
  withModel({}, (folder) => {
    using model = openFiles(`${folder}/`);
    assertEquals(model.name, "my-model");
    assertEquals(Array.from(model.parts.text_encoder.tensors.keys()), ["final_layer_norm.bias"]);
    assertEquals(Array.from(model.parts.vae.tensors.keys()), ["decoder.mid_block.attentions.0.to_q.bias"]);
    assertEquals(model.parts.unet.read("conv_in.bias"), Uint8Array.of(0, 1, 2, 3));
    assertEquals(model.settings, {});
    assertEquals(model.tokenizer, { vocab: "{}", merges: "#version: 0.2", config: {}, specialTokens: {} });
    assertEquals(model.config.scheduler, { lambda_min_clipped: -Infinity, nan: null, name: "Infinity" });
  });
});

/** What a folder of Stable Diffusion XL has besides. */
const SECOND = {
  "model_index.json": '{"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": false}',
  "text_encoder_2/config.json": '{"projection_dim": 8}',
  "text_encoder_2/model.safetensors": part("text_projection.weight"),
  "tokenizer_2/vocab.json": '{"!": 0}',
  "tokenizer_2/merges.txt": "",
};

Deno.test("a second text encoder opens with its tokenizer; one that is given is both, filled up as each does it", () => {
  withModel(SECOND, (folder) => {
    using model = openFiles(folder);
    assertEquals(model.config.text_encoder_2, { projection_dim: 8 });
    assertEquals(model.config.index?.force_zeros_for_empty_prompt, false);
    assertEquals(Array.from(model.parts.text_encoder_2!.tensors.keys()), ["text_projection.weight"]);
    assertEquals([model.tokenizer.vocab, model.tokenizer_2?.vocab], ["{}", '{"!": 0}']);
    using given = openFiles(folder, { tokenizer: TOKENIZER });
    const padding = [given.tokenizer, given.tokenizer_2].map((files) => files?.specialTokens.pad_token);
    assertEquals(padding, ["<|endoftext|>", "!"]);
  });
  for (const path of Object.keys(SECOND).slice(1)) {
    withModel({ ...SECOND, [path]: undefined }, (folder) => {
      const { message } = assertThrows(() => openFiles(folder), ModelNotFoundError);
      assertStringIncludes(message, path.split("/")[0]!);
    });
  }
});

Deno.test("old position ids are no reason to refuse a text encoder", () => {
  const ids = { "text_model.embeddings.position_ids": entry([1, 1], 0, 8, "I64"), a: entry([1], 8, 12) };
  withModel({ "text_encoder/model.safetensors": safetensors(ids, 12) }, (folder) => {
    using model = openFiles(folder);
    assertEquals(Array.from(model.parts.text_encoder.tensors.keys()), ["a"]);
  });
});

Deno.test("half precision is used where there is nothing else", () => {
  const half = { "unet/diffusion_pytorch_model.fp16.safetensors": part("half.bias") };
  withModel({ ...half, "unet/diffusion_pytorch_model.safetensors": undefined }, (folder) => {
    using model = openFiles(folder);
    assertEquals(Array.from(model.parts.unet.tensors.keys()), ["half.bias"]);
  });
  withModel(half, (folder) => {
    using model = openFiles(folder);
    assertEquals(Array.from(model.parts.unet.tensors.keys()), ["conv_in.bias"]);
  });
});

Deno.test("a part in shards opens through its index", () => {
  withModel({
    "unet/diffusion_pytorch_model.safetensors": undefined,
    "unet/diffusion_pytorch_model.safetensors.index.json": '{"weight_map": {"a": "1.safetensors"}}',
    "unet/1.safetensors": part("a"),
  }, (folder) => {
    using model = openFiles(folder);
    assertEquals(Array.from(model.parts.unet.tensors.keys()), ["a"]);
  });
});

Deno.test("a model's own settings are read", () => {
  withModel({ "denoise.json": '{"steps": 4, "guidance": 0, "height": 320}' }, (folder) => {
    using model = openFiles(folder);
    assertEquals(model.settings, { steps: 4, guidance: 0, height: 320 });
  });
});

/** Runs `use` with {@link FOLDER} in which `path` is a link to what it was, moved to `place` beside the folder. */
function withLink(path: string, place: string, use: (folder: string) => void): void {
  withModel({ "unet/diffusion_pytorch_model.safetensors.index.json": "{}", "denoise.json": "{}" }, (folder) => {
    const target = `${dirname(folder)}/${place}`;
    Deno.mkdirSync(dirname(target), { recursive: true });
    Deno.renameSync(`${folder}/${path}`, target);
    Deno.symlinkSync(target, `${folder}/${path}`);
    use(folder);
  });
}

const LINKS = Object.keys({ ...FOLDER, unet: 0, vae: 0, tokenizer: 0, scheduler: 0, "denoise.json": 0 });

for (const path of LINKS) {
  Deno.test(`links: ${path} is not read from outside of the folder`, () => {
    withLink(path, "secret", (folder) => {
      assertThrows(() => openFiles(folder), ModelFileError, "this is a link out of the folder");
    });
  });
}

Deno.test("links: a file of a Hugging Face cache is read from its blobs, and from nowhere else in it", () => {
  const [cache, blob] = ["models--org--name", "0f".repeat(32)];
  for (const path of LINKS.filter((path) => path.includes("."))) {
    withLink(path, `${cache}/blobs/${blob}`, (folder) => openFiles(folder)[Symbol.dispose]());
    for (const place of [`${cache}/${blob}`, `${cache}/blobs/secret`, `blobs/${blob}`, `${cache}/blobs/x/${blob}`]) {
      withLink(path, place, (folder) => assertThrows(() => openFiles(folder), ModelFileError, "a link out of"));
    }
  }
});

Deno.test("links: one within the folder is followed, and the folder itself may be one", () => {
  withModel({}, (folder) => {
    Deno.renameSync(`${folder}/unet`, `${folder}/other`);
    Deno.symlinkSync("other", `${folder}/unet`);
    Deno.symlinkSync(folder, `${folder}-linked`);
    for (const name of [folder, `${folder}-linked`]) openFiles(name)[Symbol.dispose]();
  });
});

Deno.test("links: a shard and a checkpoint's tokenizer are not read from outside of the folder", () => {
  const index = "unet/diffusion_pytorch_model.safetensors.index.json";
  withModel({
    "unet/diffusion_pytorch_model.safetensors": undefined,
    [index]: '{"weight_map": {"a": "1.safetensors"}}',
  }, (folder) => {
    Deno.writeFileSync(`${folder}/../secret`, part("a"));
    Deno.symlinkSync("../../secret", `${folder}/unet/1.safetensors`);
    assertThrows(() => openFiles(folder), ModelFileError, "a link out of");
  });
  withFile(tinyCheckpoint(), (path) => {
    Deno.symlinkSync(TOKENIZER, `${dirname(path)}/tokenizer`);
    assertThrows(() => openFiles(path), ModelFileError, "a link out of");
    openFiles(path, { tokenizer: TOKENIZER })[Symbol.dispose]();
  });
});

Deno.test("links that lead in a circle lead nowhere", () => {
  for (const path of LINKS.filter((path) => path in FOLDER && path !== "model_index.json")) {
    withModel({ [path]: "" }, (folder) => {
      Deno.removeSync(`${folder}/${path}`);
      Deno.symlinkSync(basename(path), `${folder}/${path}`);
      assertThrows(() => openFiles(folder), ModelNotFoundError);
    });
  }
});

Deno.test({
  name: "what is neither file nor folder is refused and not waited for",
  ignore: Deno.build.os === "windows",
  fn: () => {
    const files = LINKS.filter((path) => path.includes(".") && path !== "model_index.json");
    for (const path of [...files, "tokenizer/tokenizer.json"]) {
      withModel({ [path]: "" }, (folder) => {
        Deno.removeSync(`${folder}/${path}`);
        using _socket = Deno.listen({ transport: "unix", path: `${folder}/${path}` });
        assertThrows(() => openFiles(folder), ModelFileError, "a pipe or a device, not a file");
      });
    }
    assertThrows(() => openSafetensors("/dev/zero"), ModelFileError, "a pipe or a device, not a file");
  },
});

Deno.test("a file that is longer than any of its kind is not read", () => {
  for (const path of [...LINKS.filter((path) => path.endsWith("son")), "tokenizer/merges.txt"]) {
    const most = path.endsWith("fig.json") || !path.startsWith("tokenizer") ? LIMITS.jsonBytes : LIMITS.tokenizerBytes;
    withModel({ [path]: "" }, (folder) => {
      Deno.truncateSync(`${folder}/${path}`, most + 1);
      const words = `the file has ${most + 1} bytes; at most ${most} are read`;
      assertThrows(() => openFiles(folder), ModelFileError, words);
    });
  }
});

Deno.test("an error quotes nothing of a file", () => {
  const secret = "root:x:0:0:pass word";
  const files = LINKS.filter((path) => path.endsWith("son") && path !== "tokenizer/vocab.json");
  for (const path of [...files, "tokenizer/special_tokens_map.json"]) {
    for (const content of [secret, `"${secret}"`, `{"a": "${secret}", }`, `["${secret}"]`, `{"${secret}"}`]) {
      withModel({ [path]: content }, (folder) => {
        const error = assertThrows(() => openFiles(folder), ModelFileError);
        assert(!Deno.inspect(error).includes("root"), error.message);
      });
    }
  }
  const map = { "denoise.json": '{"latentToRgb": []}', "vae/config.json": JSON.stringify({ latent_channels: secret }) };
  withModel(map, (folder) => {
    assertThrows(() => openFiles(folder), ModelFileError, "for each of a text of 20 characters channels");
  });
  for (const key of ["steps", "guidance", "width", "height", "longPrompt", "latentToRgb"]) {
    withModel({ "denoise.json": JSON.stringify({ [key]: secret }) }, (folder) => {
      assertThrows(() => openFiles(folder), ModelFileError, `${key} is a text of 20 characters, not`);
    });
  }
});

Deno.test("a pattern does not search a configuration from each of its quotes", () => {
  withModel({ "unet/config.json": `{"a": "${'\\"'.repeat(4e6)}` }, (folder) => {
    assertThrows(() => openFiles(folder), ModelFileError, "the file is not JSON");
  });
  withModel({ "unet/config.json": `{"a": "${"NaN Infinity".repeat(1e6)}", "b": [NaN, -Infinity]}` }, (folder) => {
    using model = openFiles(folder);
    assertEquals(model.config.unet.b, [null, -Infinity]);
    assertEquals((model.config.unet.a as string).slice(0, 12), "NaN Infinity");
  });
});

/** Keys that an object has without being given them. */
const INHERITED = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"];

Deno.test("keys that every object inherits are nothing but names, in every file", () => {
  const odd = (value: unknown) => INHERITED.map((key) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`).join();
  const tensors = INHERITED.map((name, i) =>
    `${JSON.stringify(name)}: ${JSON.stringify(entry([1], 4 * i, 4 * i + 4))}`
  );
  const shards = INHERITED.map((name) => `${JSON.stringify(name)}: "1.safetensors"`);
  const index = "unet/diffusion_pytorch_model.safetensors";
  const polluted = { steps: 1, guidance: 1, _class_name: "FluxPipeline", sample_size: 7, pad_token: "a", polluted: 1 };
  withModel({
    "model_index.json": `{${odd(polluted)}}`,
    "denoise.json": `{${odd(polluted)}}`,
    "text_encoder/config.json": `{${odd(polluted)}}`,
    "unet/config.json": `{"sample_size": 64, ${odd(polluted)}}`,
    "vae/config.json": `{${odd(polluted)}}`,
    "scheduler/scheduler_config.json": `{${odd(polluted)}}`,
    "tokenizer/tokenizer_config.json": `{${odd(polluted)}}`,
    "tokenizer/special_tokens_map.json": `{${odd(polluted)}}`,
    "vae/diffusion_pytorch_model.safetensors": safetensors(`{${tensors}}`, 4 * INHERITED.length),
    [index]: undefined,
    [`${index}.index.json`]: `{"weight_map": {${shards}}, ${odd(polluted)}}`,
    "unet/1.safetensors": safetensors(`{"__metadata__": {${odd("x")}}, ${tensors}}`, 4 * INHERITED.length),
  }, (folder) => {
    using model = openFiles(folder);
    assertEquals(model.settings, {});
    assertEquals([...model.parts.unet.tensors.keys()], INHERITED);
    assertEquals([...model.parts.vae.tensors.keys()], INHERITED);
    for (const json of [...Object.values(model.config), model.tokenizer.config, model.tokenizer.specialTokens]) {
      assertEquals(json.polluted, undefined);
      assertEquals({ ...json }.polluted, undefined);
      assertEquals(Object.keys(json).filter((key) => INHERITED.includes(key)), INHERITED);
    }
    assertEquals(({} as { polluted?: unknown }).polluted, undefined);
  });
});

const PIPELINES: readonly (readonly [index: string, words: string | undefined])[] = [
  ...["", "Img2Img", "Inpaint", "XL", "XLImg2Img"].map((kind) =>
    [`{"_class_name": "StableDiffusion${kind}Pipeline"}`, undefined] as const
  ),
  ['{"_class_name": "LatentConsistencyModelPipeline"}', undefined],
  ["{}", undefined],
  ...["Flux", "StableDiffusion3", "StableDiffusionXLControlNet", "StableDiffusionUpscale", "Kandinsky"].map((kind) =>
    [
      `{"_class_name": "${kind}Pipeline"}`,
      `_class_name is "${kind}Pipeline"; only models of Stable Diffusion 1.x`,
    ] as const
  ),
  [
    '{"_class_name": "StableDiffusionXLImg2ImgPipeline", "requires_aesthetics_score": true}',
    "this is the refiner of Stable Diffusion XL; only models",
  ],
  ['{"_class_name": ["StableDiffusionPipeline"]}', "_class_name is a list of 1; only models"],
  ["garbage", "the file is not JSON"],
  ["[]", "the file is a list of 0, not an object"],
];

for (const [index, words] of PIPELINES) {
  Deno.test(`model_index.json of ${index} is ${words ? "refused, whatever else is there" : "drawn with"}`, () => {
    const others = words === undefined ? {} : Object.fromEntries(Object.keys(FOLDER).map((path) => [path, undefined]));
    withModel({ ...others, "model_index.json": index }, (folder) => {
      if (words === undefined) return openFiles(folder)[Symbol.dispose]();
      const error = assertThrows(() => openFiles(folder), ModelFileError, words);
      assertEquals(error.file, `${folder}/model_index.json`);
    });
  });
}

const ABSENT: readonly (readonly [path: string, words: string])[] = [
  ["model_index.json", "is not a model: it has no model_index.json"],
  ["unet/config.json", "unet/config.json"],
  ["scheduler/scheduler_config.json", "scheduler/scheduler_config.json"],
  ["tokenizer/merges.txt", "needs tokenizer.json, or vocab.json and merges.txt"],
  ["vae/diffusion_pytorch_model.safetensors", "no weights of its vae: diffusion_pytorch_model.safetensors"],
];

for (const [path, words] of ABSENT) {
  Deno.test(`a folder without ${path} is not a model`, () => {
    withModel({ [path]: undefined }, (folder) => {
      assertThrows(() => openFiles(folder), ModelNotFoundError, words);
    });
  });
}

const DAMAGED: readonly (readonly [path: string, content: string, words: string])[] = [
  ["unet/config.json", "{", "the file is not JSON"],
  ["unet/config.json", "[]", "the file is a list of 0, not an object"],
  ["scheduler/scheduler_config.json", "null", "the file is null, not an object"],
  ["tokenizer/tokenizer_config.json", "{]", "the file is not JSON"],
  ["unet/diffusion_pytorch_model.safetensors", "", "the file is empty"],
  ["denoise.json", '{"steps": 0}', "steps is 0, not a whole number from 1 to 1000"],
  ["denoise.json", '{"steps": 1001}', "steps is 1001, not"],
  ["denoise.json", '{"guidance": 1e300}', "guidance is 1e+300, not a number from 0 to 1000"],
  ["denoise.json", '{"guidance": Infinity}', "guidance is Infinity, not"],
  ["denoise.json", '{"width": 1.5}', "width is 1.5, not a whole number above 0"],
  ["denoise.json", '{"guidance": "7"}', 'guidance is "7"'],
  ["denoise.json", '{"guidance": -1}', "guidance is -1"],
  ["denoise.json", '{"longPrompt": "cut"}', 'longPrompt is "cut", not chunk or truncate'],
  ["denoise.json", '{"latentToRgb": [[1, 2, 3]]}', "latentToRgb is a list of 1, not three numbers for each of 4"],
  [
    "denoise.json",
    '{"latentToRgb": [[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2]]}',
    "latentToRgb is a list of 5, not three numbers",
  ],
  ["denoise.json", '{"steps": {"a": 1}}', "steps is an object, not"],
  ["denoise.json", '{"knows": 1}', "knows is 1, not a text"],
  [
    "denoise.json",
    `{"knows": "${"apples ".repeat(30)}"}`,
    "knows is a text of 210 characters, not a text of up to 200",
  ],
];

for (const [path, content, words] of DAMAGED) {
  Deno.test(`a folder with ${content || "nothing"} in ${path} is refused`, () => {
    withModel({ [path]: content }, (folder) => {
      const error = assertThrows(() => openFiles(folder), ModelFileError, words);
      assertEquals(error.file, `${folder}/${path}`);
    });
  });
}

Deno.test("text that is not UTF-8 is refused", () => {
  withModel({ "tokenizer/vocab.json": Uint8Array.of(0xff) }, (folder) => {
    assertThrows(() => openFiles(folder), ModelFileError, "the text is not UTF-8");
  });
});

Deno.test({
  name: "a file that this user may not read is as good as absent",
  ignore: Deno.build.os === "windows" || Deno.uid() === 0,
  fn: () =>
    withModel({}, (folder) => {
      Deno.chmodSync(`${folder}/unet/config.json`, 0);
      assertThrows(() => openFiles(folder), ModelNotFoundError, "This user may not read the file");
    }),
});

Deno.test("a pickle is refused, and the way to convert it told", () => {
  withModel({
    "unet/diffusion_pytorch_model.safetensors": undefined,
    "unet/diffusion_pytorch_model.bin": "",
  }, (folder) => {
    assertThrows(() => openFiles(folder), ModelFileError, `StableDiffusionPipeline.from_pretrained("${folder}")`);
  });
  withFolder((folder) => {
    const path = `${folder}/model.ckpt`;
    Deno.writeTextFileSync(path, "");
    assertThrows(() => openFiles(path), ModelFileError, `StableDiffusionPipeline.from_single_file("${path}")`);
    Deno.writeTextFileSync(`${folder}/model.txt`, "");
    assertThrows(() => openFiles(`${folder}/model.txt`), ModelFileError, "a model is a folder in the layout");
  });
});

Deno.test("a misspelt name tells the right ones", () => {
  assertThrows(() => openFiles("emoij"), ModelNotFoundError, "no model, folder or file emoij; embedded are emoji");
  assertThrows(() => openFiles("../weights/emoji/"), ModelNotFoundError);
  assertThrows(() => openFiles(""), ModelNotFoundError);
});

Deno.test("a program that runs from a URL says that it has no embedded models", async () => {
  const root = new URL("../../", import.meta.url);
  await using server = Deno.serve({ port: 0, onListen() {} }, async ({ url }) => {
    const source = await Deno.readTextFile(new URL(`.${new URL(url).pathname}`, root));
    return new Response(source, { headers: { "content-type": "text/typescript" } });
  });
  const cache = await Deno.makeTempDir({ prefix: "denoise-test-" });
  const address = `http://localhost:${server.addr.port}/weights/mod.ts`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      "--no-lock",
      `import { listEmbedded, openFiles } from "${address}";
       try { openFiles("emoji") } catch ({ name, message }) { console.log(listEmbedded().length, name, message) }`,
    ],
    cwd: root,
    env: { DENO_DIR: cache },
  }).output();
  await Deno.remove(cache, { recursive: true });
  const line = new TextDecoder().decode(stdout);
  assertStringIncludes(line, "0 ModelNotFoundError There is no model, folder or file emoji; none are embedded");
  assertStringIncludes(line, "http://localhost");
});

Deno.test("a downloaded repository opens by its name, a folder of that name goes before it", () => {
  withModel({}, (folder) => {
    const commit = "ab".repeat(20);
    const hub = `${folder.slice(0, folder.lastIndexOf("/"))}/hub`;
    const repository = `${hub}/models--org--name`;
    Deno.mkdirSync(`${repository}/snapshots`, { recursive: true });
    Deno.mkdirSync(`${repository}/refs`);
    Deno.renameSync(folder, `${repository}/snapshots/${commit}`);
    Deno.writeTextFileSync(`${repository}/refs/v1`, commit);
    const variable = (name: string) => name === "HF_HUB_CACHE" ? hub : undefined;
    using model = openFiles("org/name@v1", { variable });
    assertEquals(model.name, "org/name@v1");
    assertEquals(model.parts.unet.read("conv_in.bias"), Uint8Array.of(0, 1, 2, 3));
    const words =
      'The model org/name is not on this machine, neither at that path nor in a cache; "denoise pull org/name"';
    assertThrows(() => openFiles("org/name", { variable }), ModelNotFoundError, words);
    assertThrows(() => openFiles("org/x.safetensors", { variable }), ModelNotFoundError, "no model, folder or file");
    assertThrows(() => openFiles("tests/weights", { variable }), ModelNotFoundError, "it has no model_index.json");
  });
});
