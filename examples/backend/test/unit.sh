# Tests of the functions in src/.
. ./src/store.sh
. ./src/price.sh

check 'a price is pieces times cents' 150 "$(price_total 50 3 0)"
check 'a discount is taken off' 135 "$(price_total 50 3 10)"
check 'half a cent is rounded down' 49 "$(price_total 55 1 10)"
check 'a price must be a number' refused "$(price_total five 1 0 2>/dev/null || echo refused)"
check 'a discount has an end' refused "$(price_total 50 1 101 2>/dev/null || echo refused)"
check 'cents are two digits' 3.05 "$(price_show 305)"

mkdir tmp/db
: >tmp/db/prices
store_put tmp/db prices pear 70
store_put tmp/db prices apple 50
check 'a value comes back' 70 "$(store_get tmp/db prices pear)"
check 'what is not there is not found' missing "$(store_get tmp/db prices plum || echo missing)"
store_put tmp/db prices pear 80
check 'a value is replaced' 80 "$(store_get tmp/db prices pear)"
check 'keys are sorted, each once' 'apple pear' "$(store_keys tmp/db prices | tr '\n' ' ' | sed 's/ $//')"
check 'tabs are refused' refused "$(store_put tmp/db prices "a${TAB}b" 1 2>/dev/null || echo refused)"
