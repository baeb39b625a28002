# The first table, with what the shop sells.
printf 'apple\t50\nbread\t320\n' >"$1/prices"
