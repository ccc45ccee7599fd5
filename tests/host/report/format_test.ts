import assert from "node:assert/strict";
import {
  decimalsOfNoise,
  formatBytes,
  formatCompact,
  formatDuration,
  formatInterval,
  formatNumber,
  formatRatio,
  formatSignificant,
  shorten,
} from "../../../report/words/format.ts";
import { escapeHtml, markup } from "../../../report/page/html.ts";
import { thin, tickFormat } from "../../../report/charts/frame.ts";

const plain = (text: string) => text.replaceAll("\u202f", " ");

Deno.test("formats never show what is not a number", () => {
  for (const value of [null, undefined, NaN, Infinity, -Infinity]) {
    for (
      const format of [
        formatNumber,
        formatBytes,
        formatCompact,
        formatDuration,
        formatRatio,
        formatSignificant,
      ]
    ) {
      assert.equal(format(value), "–");
    }
  }
  assert.equal(formatInterval(null), "–");
});

Deno.test("formatNumber() groups digits, and zero has no sign", () => {
  assert.equal(plain(formatNumber(1234567.891, 2)), "1 234 567.89");
  assert.equal(formatNumber(1234), "1234");
  assert.equal(formatNumber(-0.001, 2), "0.00");
  assert.equal(formatNumber(-1.5, 1), "−1.5");
});

Deno.test("formatCompact() keeps two digits or all that stand before the point", () => {
  assert.deepEqual(
    [4123, 41230, 412300, 4.1e6, 999.6, 12.34, 0.123].map((value) => plain(formatCompact(value))),
    [
      "4.1 k",
      "41 k",
      "412 k",
      "4.1 M",
      "1000",
      "12.3",
      "0.123",
    ],
  );
});

Deno.test("formatBytes() names binary units", () => {
  assert.equal(plain(formatBytes(2.5 * 1024 ** 3)), "2.50 GiB");
  assert.equal(plain(formatBytes(25.53 * 1024 ** 2)), "25.5 MiB");
  assert.equal(plain(formatBytes(0)), "0 KiB");
});

Deno.test("intervals are as precise as their noise, and one digit more", () => {
  assert.equal(decimalsOfNoise({ low: 4050.12, estimate: 4123.4, high: 4200.9 }), 0);
  assert.equal(decimalsOfNoise({ low: 18.86, estimate: 18.91, high: 18.97 }), 2);
  assert.equal(formatInterval({ low: 18.86, estimate: 18.91, high: 18.97 }), "18.91 [18.86, 18.97]");
  assert.equal(formatInterval({ low: 7, estimate: 7, high: 7 }, 1), "7.0", "no spread, no interval");
});

Deno.test("formatDuration() picks the unit people would", () => {
  assert.deepEqual([12.34, 3400, 320_000, 9_000_000].map((ms) => plain(formatDuration(ms))), [
    "12.3 ms",
    "3.40 s",
    "5 min 20 s",
    "2 h 30 min",
  ]);
});

Deno.test("tickFormat() gives an axis as many decimals as its steps need", () => {
  assert.deepEqual([0, 0.25, 0.5].map(tickFormat([0, 0.25, 0.5])), ["0", "0.25", "0.50"]);
  assert.deepEqual([0, 2000, 4000].map(tickFormat([0, 2000, 4000])).map(plain), ["0", "2 k", "4 k"]);
  assert.deepEqual([0, 500, 2500].map(tickFormat([0, 500, 2500])).map(plain), ["0", "0.5 k", "2.5 k"]);
});

Deno.test("thin() keeps the last item and no more than the limit and one", () => {
  const { items, stride } = thin(Array.from({ length: 1000 }, (_, i) => i), 100);
  assert.equal(stride, 10);
  assert.equal(items.at(-1), 999);
  assert.ok(items.length <= 101);
});

Deno.test("shorten() counts characters, not code units", () => {
  assert.equal(shorten("😀🙁😀🙂", 3), "😀…🙂");
  assert.equal(shorten("abc", 3), "abc");
  assert.equal(shorten("abcd", 2), "a…");
  assert.equal(shorten("batch 1 + checkpointing + fp16", 15), "batch 1…+ fp16");
});

Deno.test("markup escapes every value, and only values", () => {
  const evil = `<script>alert("x")</script>'\`&`;
  assert.equal(
    markup`<p title="${evil}">${[evil, null, false, 3]}</p>`.text,
    `<p title="${escapeHtml(evil)}">${escapeHtml(evil)}3</p>`,
  );
  assert.equal(escapeHtml(evil), "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&#39;&#96;&amp;");
  assert.equal(markup`${markup`<b>`}`.text, "<b>", "markup inside markup stands");
});

Deno.test("escapeHtml() makes control, bidirectional and broken characters visible", () => {
  assert.equal(escapeHtml("a\u0000b\u202ec\ud800d\ne"), "a\ufffdb\ufffdc\ufffdd\ne");
});
