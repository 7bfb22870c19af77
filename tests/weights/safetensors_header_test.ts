import { assertEquals } from "@std/assert";
import { repeatedKey } from "../../weights/safetensors_header.ts";

const CASES: readonly (readonly [json: string, key: string | undefined])[] = [
  ["{}", undefined],
  ['{"a":1,"b":2}', undefined],
  ['{"a":1,"a":2}', "a"],
  ['{ "a" : 1 , "b" : 2 , "a"\n\t: 3 }', "a"],
  ['{"":1,"":2}', ""],
  // The same key in different objects, before and after one that is closed.
  ['{"a":{"a":1},"b":{"a":1}}', undefined],
  ['{"a":{"b":1},"c":{},"a":2}', "a"],
  ['{"x":{"a":1,"a":2}}', "a"],
  ['[{"a":1},{"a":1}]', undefined],
  // Values, and text that looks like JSON, are no keys.
  ['{"a":"a","b":"a"}', undefined],
  ['{"a":["b","b"],"b":"\\"a\\":1,\\"a\\":2"}', undefined],
  ['{"a{\\\\":1,"b}":{"c":1},"a{\\\\":2}', "a{\\"],
  ['{"\\u0061":1,"a":2}', "a"],
  ['{"__proto__":1,"__proto__":2}', "__proto__"],
  ['{"\\ud83d":1,"\\ud83e":2}', undefined],
];

for (const [json, key] of CASES) {
  Deno.test(`repeatedKey: ${json.replaceAll("\n", " ")}`, () => {
    JSON.parse(json);
    assertEquals(repeatedKey(json), key);
  });
}
