# SPDX-License-Identifier: Apache-2.0
# Turn text into C string literals, one a line.
s/[\\"]/\\&/g
s/^/"/
s/$/\\n"/
