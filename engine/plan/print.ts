import { ROLES } from "../graph/types.ts";
import { total } from "./plan.ts";
import type { Plan } from "./plan.ts";

/**
 * A plan as text: its buffers, then each program node by node with the bytes alive at it and where its
 * outputs lie. Recomputed nodes say so: what checkpointing drops is what they make again.
 */
export function printPlan({ buffers, programs, transients }: Plan): string {
  const lines = [
    "buffers",
    ...buffers.map(({ label, kind, bytes }, i) => `  ${i} ${label} (${kind}) ${bytes}`),
  ];
  for (const { name, graph, live } of programs) {
    lines.push(
      `program ${name}: node, phase, op, scope, live bytes of the arena, outputs at buffer:offset+bytes`,
    );
    graph.nodes.forEach((node, i) => {
      const outputs = node.outputs.map((value) => {
        const place = transients.get(value.id);
        return place
          ? `${value.name}@${place.buffer}:${place.byteOffset}+${place.byteLength}`
          : `${value.name}@in place`;
      });
      lines.push(
        `  ${i} ${node.phase} ${node.op.name} ${node.scope || "-"} ${total(live[i])} ${outputs.join(" ")}`,
      );
    });
    const peak = live.reduce((best, bytes, i) => (total(bytes) > total(live[best]) ? i : best), 0);
    const roles = ROLES.filter((role) => live[peak]?.[role] > 0).map((role) => `${role} ${live[peak][role]}`);
    lines.push(`  peak at node ${peak}: ${roles.join(", ")}`);
  }
  return lines.join("\n") + "\n";
}
