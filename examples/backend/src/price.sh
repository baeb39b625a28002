# What things cost: amounts are whole cents, so that nothing is lost in rounding.

# price_total CENTS QUANTITY DISCOUNT_PERCENT: the price of some pieces, rounded down to a cent.
price_total() {
    for number in "$1" "$2" "$3"; do
        case $number in
        '' | *[!0-9]*)
            echo "price: '$number' is no whole number" >&2
            return 1
            ;;
        esac
    done
    if [ "$3" -gt 100 ]; then
        echo "price: a discount of $3 percent" >&2
        return 1
    fi
    echo $(($1 * $2 * (100 - $3) / 100))
}

# price_show CENTS: the amount as people write it.
price_show() {
    printf '%d.%02d\n' $(($1 / 100)) $(($1 % 100))
}
