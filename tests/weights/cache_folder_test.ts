import { assertEquals } from "@std/assert";
import { cacheFolder } from "../../weights/cache_folder.ts";

function folder(variables: Readonly<Record<string, string>>, system?: typeof Deno.build.os) {
  return cacheFolder((name) => variables[name], system);
}

Deno.test("the cache folder is XDG's where absolute, otherwise the system's", () => {
  assertEquals(folder({ XDG_CACHE_HOME: "/cache", HOME: "/home/me" }, "linux"), "/cache/denoise");
  assertEquals(folder({ XDG_CACHE_HOME: "cache", HOME: "/home/me" }, "linux"), "/home/me/.cache/denoise");
  assertEquals(folder({ XDG_CACHE_HOME: "", HOME: "/home/me" }, "linux"), "/home/me/.cache/denoise");
  assertEquals(folder({ HOME: "/Users/me" }, "darwin"), "/Users/me/Library/Caches/denoise");
  assertEquals(folder({ LOCALAPPDATA: "/local", HOME: "/home/me" }, "windows"), "/local/denoise");
  for (const system of ["linux", "darwin", "windows"] as const) assertEquals(folder({}, system), undefined);
  assertEquals(folder({ HOME: "" }, "linux"), undefined);
});
