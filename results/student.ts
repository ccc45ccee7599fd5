/** Student's t: what intervals and tests of means are built with. */
import studentCdf from "@stdlib/stats-base-dists-t-cdf";
import studentQuantile from "@stdlib/stats-base-dists-t-quantile";

export { studentCdf, studentQuantile };
