# SPDX-License-Identifier: LGPL-2.1-or-later
# A list of skipped cases, "NAME - REASON" a line -> a line for each reason, with how many and the first.

{
  at = index($0, " - ")
  name = at ? substr($0, 1, at - 1) : $0
  reason = at ? substr($0, at + 3) : "no reason given"
  if (!count[reason]++) { order[++reasons] = reason; first[reason] = name }
}
END {
  for (i = 1; i <= reasons; i++) {
    reason = order[i]
    more = count[reason] > 1 ? ", ..." : ""
    printf "   skipped %3d: %s (%s%s)\n", count[reason], reason, first[reason], more
  }
}
