/**
 * Where labels of a scatter stand: clear of marks, of lines and of each other, and never nearer to another
 * mark than to theirs.
 */

export interface Point {
  x: number;
  y: number;
}

export interface Label {
  /** The mark it belongs to. */
  at: Point;
  width: number;
  /** Worth a leader line where there is no room beside the mark. */
  isImportant: boolean;
  /** Must stand somewhere, near to other marks if need be: what the chart is about. */
  isRequired?: boolean;
}

export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/** Left end of the baseline; `leader`: the mark is too far away to need no line. */
export interface PlacedLabel extends Point {
  leader: boolean;
}

const ASCENT = 11;
const DESCENT = 3;
/** Half the side of a mark, with a little air. */
const MARK = 6;

function overlap(a: Box, b: Box): boolean {
  return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
}

function distance({ x0, y0, x1, y1 }: Box, { x, y }: Point): number {
  return Math.hypot(Math.max(x0 - x, 0, x - x1), Math.max(y0 - y, 0, y - y1));
}

function around({ x, y }: Point, half: number): Box {
  return { x0: x - half, y0: y - half, x1: x + half, y1: y + half };
}

/** Distance of a point from the segment `a`–`b`. */
function offLine(point: Point, a: Point, b: Point): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const t = Math.min(
    1,
    Math.max(0, ((point.x - a.x) * dx + (point.y - a.y) * dy) / (dx * dx + dy * dy || 1)),
  );
  return Math.hypot(point.x - a.x - t * dx, point.y - a.y - t * dy);
}

/** Places to try, the best first: beside, above and below; then further away, with a leader. */
function candidates({ at, width, isImportant }: Label, bounds: Box): PlacedLabel[] {
  const centred = Math.min(Math.max(at.x - width / 2, bounds.x0), bounds.x1 - width);
  const [right, left] = [at.x + 9, at.x - 9 - width];
  const near = [[right, 4], [left, 4], [centred, -11], [centred, 19], [right, -8], [right, 16], [left, -8], [
    left,
    16,
  ]];
  const far: number[][] = [];
  for (let drop = 30; isImportant && drop < 150; drop += 12) {
    for (const x of [right + 6, left - 6, centred]) far.push([x, -drop], [x, drop]);
  }
  return [...near, ...far].map(([x, dy], i) => ({ x, y: at.y + dy, leader: i >= near.length }));
}

/** The end of a leader: the point of the label's box nearest to its mark. */
export function leaderEnd(label: Label, { x, y }: PlacedLabel): Point {
  return {
    x: Math.min(Math.max(label.at.x, x), x + label.width),
    y: Math.min(Math.max(label.at.y, y - ASCENT), y + DESCENT),
  };
}

/**
 * Places labels one after another, so that the first ones get the best places; null where one finds none.
 *
 * @param marks Every mark of the chart, those of the labels among them.
 * @param line Points along lines that labels must not cross.
 */
export function placeLabels(
  labels: readonly Label[],
  { marks, line, bounds }: { marks: readonly Point[]; line: readonly Point[]; bounds: Box },
): (PlacedLabel | null)[] {
  const taken = [...marks.map((mark) => around(mark, MARK)), ...line.map((point) => around(point, 2))];
  return labels.map((label) => {
    const others = marks.filter(({ x, y }) => Math.hypot(x - label.at.x, y - label.at.y) > 1);
    const fits = (place: PlacedLabel): boolean => {
      const box = boxOf(label, place);
      if (box.x0 < bounds.x0 || box.x1 > bounds.x1 || box.y0 < bounds.y0 || box.y1 > bounds.y1) return false;
      if (taken.some((other) => overlap(box, other))) return false;
      if (!place.leader) return others.every((mark) => distance(box, mark) > distance(box, label.at));
      const end = leaderEnd(label, place);
      return others.every((mark) => distance(box, mark) > 16 && offLine(mark, label.at, end) > MARK + 1);
    };
    const isFree = (place: PlacedLabel): boolean => {
      const box = boxOf(label, place);
      const isInside = box.x0 >= bounds.x0 && box.x1 <= bounds.x1 && box.y0 >= bounds.y0 &&
        box.y1 <= bounds.y1;
      return isInside && !taken.some((other) => overlap(box, other));
    };
    const places = candidates(label, bounds);
    const place = places.find(fits) ?? (label.isRequired ? places.find(isFree) : null) ?? null;
    if (place) taken.push(boxOf(label, place));
    return place;
  });
}

/** The box a placed label fills. */
export function boxOf({ width }: Label, { x, y }: PlacedLabel): Box {
  return { x0: x, x1: x + width, y0: y - ASCENT, y1: y + DESCENT };
}
