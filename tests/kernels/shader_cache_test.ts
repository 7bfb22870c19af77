import { assertEquals } from "@std/assert";
import { kernel } from "../../kernels/kernel.ts";
import { fillShaderCache } from "../../kernels/shader_cache.ts";

function text(factor: number): string {
  return kernel({
    name: "test",
    ports: [{ kind: "buffer", name: "x", access: "read_write", element: "f32" }],
    sizes: { two: 2 },
    body: `@compute @workgroup_size(1) fn main() { x[0] *= f32(size.two) * ${factor}.0; }`,
    workgroups: [1, 1, 1],
  }).wgsl;
}

Deno.test("other threads compile every shader once, and go on where one does not compile", async () => {
  assertEquals(await fillShaderCache([]), 0);
  assertEquals(await fillShaderCache([text(3)]), 1);
  const texts = Array.from({ length: 9 }, (_, i) => i === 4 ? "not WGSL" : text(i));
  assertEquals(await fillShaderCache(texts), 9);
});

Deno.test("a program that may not start threads goes on without them", async () => {
  const state = "prompt" as const;
  const { query } = Deno.permissions;
  Deno.permissions.query = () => Promise.resolve({ state } as Deno.PermissionStatus);
  try {
    assertEquals(await fillShaderCache([text(1)]), 0);
  } finally {
    Deno.permissions.query = query;
  }
});

Deno.test("threads that find no GPU compile nothing and are given up", async () => {
  // A process of its own: an environment is that of all threads, those that run other tests, too.
  const script = `
    import { fillShaderCache } from "${new URL("../../kernels/shader_cache.ts", import.meta.url)}";
    console.log(await fillShaderCache(${JSON.stringify([text(1), text(2)])}));`;
  const env = { DENO_WEBGPU_BACKEND: "none of these", NO_COLOR: "1" };
  const options = { args: ["eval", script], cwd: new URL("../..", import.meta.url), env };
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), options).output();
  const decoder = new TextDecoder();
  assertEquals([decoder.decode(stdout), decoder.decode(stderr)], ["0\n", ""]);
});
