import elementwise from "./elementwise.wgsl" with { type: "text" };
import gelu from "./gelu.wgsl" with { type: "text" };
import tanh from "./tanh.wgsl" with { type: "text" };

/** WGSL of all elementwise kernels. */
export const ELEMENTWISE_WGSL = gelu + tanh + elementwise;
