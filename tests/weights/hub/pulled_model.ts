/**
 * A model in a hub, and a pull of it into a folder of its own.
 * @module
 */
import { join } from "@std/path";
import type { Write } from "../../../weights/hub/download.ts";
import { pull, type Pulled, type PullEvent } from "../../../weights/hub/pull.ts";
import { SILENCE, type Wait } from "../../../weights/hub/request.ts";
import { type Content, LoopbackHub } from "./loopback_hub.ts";

/** The file that misbehaves. */
export const UNET = "unet/diffusion_pytorch_model.safetensors";

/** As long as the file that misbehaves is. */
export const UNET_BYTES = 3000;

function text(content: string): Content {
  return { bytes: new TextEncoder().encode(content), lfs: false };
}

function weights(length: number): Content {
  return { bytes: Uint8Array.from({ length }, (_, index) => (index * 7 + length) % 251), lfs: true };
}

/** The files of the smallest model. */
export const FILES: ReadonlyMap<string, Content> = new Map([
  ["README.md", text("not needed")],
  ["model_index.json", text("{}")],
  ["scheduler/scheduler_config.json", text('{"scheduler": 1}')],
  ["text_encoder/config.json", text('{"text": 1}')],
  ["text_encoder/model.safetensors", weights(500)],
  ["tokenizer/vocab.json", text('{"a": 1}')],
  ["tokenizer/merges.txt", text("#version: 0.2")],
  ["unet/config.json", text('{"unet": 1}')],
  [UNET, weights(UNET_BYTES)],
  ["vae/config.json", text('{"vae": 1}')],
  ["vae/diffusion_pytorch_model.safetensors", weights(700)],
  ["safety_checker/model.safetensors", weights(900)],
]);

/** A hub with a model, and a place to download it to; time does not pass, but it is counted. */
export class Scene implements Disposable {
  readonly hub: LoopbackHub;
  /** The user's cache folder. */
  readonly home: string = Deno.makeTempDirSync({ prefix: "denoise-test-" });
  readonly events: PullEvent[] = [];
  /** Milliseconds of the pauses between attempts. */
  readonly pauses: number[] = [];
  readonly variables: Record<string, string>;
  #silent = Promise.withResolvers<void>();

  constructor(files: ReadonlyMap<string, Content> = FILES) {
    this.hub = new LoopbackHub(files);
    this.variables = { XDG_CACHE_HOME: this.home, HF_ENDPOINT: this.hub.endpoint };
    this.hub.onStall = () => {
      this.#silent.resolve();
      this.#silent = Promise.withResolvers();
    };
  }

  /** The repository's folder. */
  get folder(): string {
    return join(this.home, "denoise", "hub", "models--org--name");
  }

  /** The folder in which the files appear. */
  get snapshot(): string {
    return join(this.folder, "snapshots", this.hub.commit);
  }

  readonly variable = (name: string): string | undefined => this.variables[name];

  readonly #wait: Wait = (milliseconds) => {
    if (milliseconds === SILENCE) return this.#silent.promise;
    this.pauses.push(milliseconds);
    return Promise.resolve();
  };

  /** Downloads org/name. */
  pull(options: { readonly write?: Write; readonly revision?: string } = {}): Promise<Pulled> {
    const { revision = "main", ...rest } = options;
    const onEvent = (event: PullEvent) => void this.events.push(event);
    return pull({ name: "org/name", revision }, { variable: this.variable, onEvent, wait: this.#wait, ...rest });
  }

  /** Misbehaves at the first request for a file, and at none after it. */
  once(path: string, misbehave: LoopbackHub["misbehave"]): void {
    let done = false;
    this.hub.misbehave = (seen) => {
      if (done || !seen.path.endsWith(`/${path}`)) return undefined;
      done = true;
      return misbehave(seen);
    };
  }

  /** Misbehaves at every request for a file. */
  always(path: string, misbehave: LoopbackHub["misbehave"]): void {
    this.hub.misbehave = (seen) => seen.path.endsWith(`/${path}`) ? misbehave(seen) : undefined;
  }

  /** Names of what lies in `blobs`. */
  blobs(): string[] {
    return namesIn(join(this.folder, "blobs"));
  }

  [Symbol.dispose](): void {
    this.hub[Symbol.dispose]();
    Deno.removeSync(this.home, { recursive: true });
  }
}

/** Names of what lies in a folder, sorted; none where there is no folder. */
export function namesIn(folder: string): string[] {
  try {
    return Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
